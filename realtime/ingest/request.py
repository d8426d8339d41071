"""One request's way through ingest: the source that it is for, and what became of its rows."""

from __future__ import annotations

import msgspec
from opentelemetry.trace import Span

from realtime.errors import MethodError
from realtime.ingest.batch import Batch
from realtime.ingest.reasons import BadRow
from realtime.ingest.records import declared
from realtime.ingest.room import Share
from realtime.ingest.schema import Schema
from realtime.planner.ir import SourceSpec


class Taken(msgspec.Struct, frozen=True):
    """What became of a request's rows. Each is in the landing table or in quarantine, on disk."""

    successful_rows: int
    quarantined_rows: int


class Stored(msgspec.Struct, frozen=True):
    """The same, with ``refused``: fingerprints of the rows that did not fit the source, in quarantine now."""

    taken: Taken
    refused: tuple[int, ...]


class Source:
    """What one source of a plan needs: its checks, and how its rows and refused rows are inserted."""

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec
        self.declaration = declared(spec)
        columns = ", ".join(("request_id", *BadRow.__struct_fields__))
        self.quarantine = f"INSERT INTO {spec.whole_quarantine} ({columns}) FORMAT JSONEachRow"
        self._posts = Schema(spec)
        self._deletes = Schema(spec, deletes=True) if spec.deleted else None

    def schema(self, method: str) -> Schema:
        """The checks of a POST, a PATCH or a DELETE; MethodError where rows can't be changed or deleted."""
        if method not in methods(self.spec):
            raise self._refused(method)
        return self._deletes if method == "DELETE" and self._deletes is not None else self._posts

    def _refused(self, method: str) -> MethodError:
        what = {"PATCH": "can't be changed", "DELETE": "can't be deleted"}.get(method)
        why = "declares no column for deletions" if self.spec.mode == "upsert" else "takes appended rows only"
        return MethodError(
            f"rows of source {self.spec.name} {what}: it {why}" if what else f"{method} is not for events",
            remedy="declare meta.realtime with mode: upsert, key, version and deleted, and deploy" if what else "",
            allowed=list(methods(self.spec)),
        )


def methods(spec: SourceSpec) -> tuple[str, ...]:
    """What a source takes: rows, for an upserted one columns to change, and keys of deleted rows
    where it has a column for those."""
    return ("POST", *(["PATCH"] if spec.mode == "upsert" else []), *(["DELETE"] if spec.deleted else []))


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """``method`` is POST, PATCH or DELETE; ``key`` is empty and ``batch`` None for one without an Idempotency-Key.

    The inserts of one with a key are parts of its ``batch``. ``only`` are fingerprints of the rows that are taken,
    those that an earlier request left in quarantine: what does not fit still, is there. None takes all. ``span`` is
    the request's, where it is traced.
    """

    source: Source
    method: str
    id: str
    share: Share
    key: str = ""
    batch: Batch | None = None
    only: frozenset[int] | None = None
    span: Span | None = None

    def part(self, name: object) -> Batch | None:
        """The batch of one of its inserts: the same whenever the request comes."""
        return self.batch.part(name) if self.batch else None
