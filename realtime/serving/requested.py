"""What a request asks for, as a call of one version: its parameters, those of its token, and where its page begins."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from realtime.planner.ir import CURSOR
from realtime.serving.calls import Call
from realtime.serving.failures import GoneError
from realtime.serving.formats import Format
from realtime.serving.pages import Position, begun, position
from realtime.serving.registry import Catalog, Entry
from realtime.serving.tokens import Grant
from realtime.serving.traces import Asked


@dataclasses.dataclass(frozen=True)
class Requested:
    """``query`` and ``body`` as they were sent, ``where`` what their cursor says, ``grant`` what the token allows."""

    query: Mapping[str, Sequence[str]]
    body: Mapping[str, Any]
    where: Position | None = None
    grant: Grant | None = None

    def call(self, entry: Entry, form: Format, request_id: str, asked: Asked) -> Call:
        """The call of ``entry``; BadRequestError where a parameter or the cursor is wrong, ForbiddenError where the
        token is not for it."""
        signature, body = entry.signature, self.body
        if self.grant is not None:
            body = self.grant.bind(entry.spec.name, signature.parameters, self.query, dict(body))
        given = signature.read(self.query, body, dt.datetime.now(dt.UTC))
        now = signature.now(self.query, body)
        if self.where is None or entry.spec.paging is None:
            return Call(entry, given, form, request_id, now, asked=asked)
        after, given = begun(entry.spec, signature, given, self.where, now=now)
        return Call(entry, given, form, request_id, now=False, after=after, asked=asked)


def begins(
    catalog: Catalog, entry: Entry, query: Mapping[str, Sequence[str]], body: Mapping[str, Any]
) -> Position | None:
    """Where the page begins that a request to ``entry`` asks for; None where it asks for no page but the first, or the
    lambda never had any: then `Requested.call` says what it thinks of a cursor."""
    if CURSOR not in query and CURSOR not in body:
        return None
    if CURSOR in entry.signature.parameters:
        return position(query, body) if entry.signature.paged else None
    versions = catalog.versions.get(entry.spec.name, {}).values()
    return position(query, body) if any(known.signature.paged for known in versions) else None


def turned(catalog: Catalog, entry: Entry, where: Position) -> Entry:
    """The version of the cursor, whatever ``entry`` a name or tag means by now: pages are those of one version.

    GoneError where this server knows no such version.
    """
    name = entry.spec.name
    found = catalog.versions.get(name, {}).get(where.version, entry if entry.spec.version == where.version else None)
    if found is None or found.spec.paging is None:
        raise GoneError(
            f"lambda {name}: the version that gave this cursor is not there any more",
            remedy="begin again, without a cursor", **{"lambda": name},
        )  # fmt: skip
    return found
