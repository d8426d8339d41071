"""Pages: what a query for one answers is cut into the page's rows and the cursor of the next one.

A cursor is the place after which the next page begins, in JSON, in URL-safe Base64: the version, a digest of the
parameters, the moment where that was left to the server, and the order keys of the page's last row. It is not secret
and not signed: it says no more than where to begin. Its keys are read by their types and bound as parameters, the
parameters are those of the request that it comes with, and what a token fixes is among them.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # the same

from realtime.errors import BadRequestError
from realtime.planner.ir import AS_OF, CURSOR, PAGE_AFTER, PAGE_PLACE, PAGE_ROWS, PAGE_SIZE, PLACE, LambdaSpec
from realtime.serving import values
from realtime.serving.failures import PageError
from realtime.serving.formats import BY_SUFFIX, Format
from realtime.serving.parameters import Signature
from realtime.transpile.types import DuckType, Kind, duck_type

_LONGEST = 4096
"""Characters of a cursor: an address of 8 KiB, which every proxy takes, holds it twice."""
_AGAIN = "send next_cursor as it came, with the same parameters; or begin again, without a cursor"
_BODY = tuple[str, str, bool, list[str | None]]
_decoder = msgspec.json.Decoder(_BODY)
_FLOAT = re.compile(r"-?([0-9.]+(e[+-]?[0-9]+)?|inf)|nan")
_DIGITS = re.escape(PLACE.encode()) + rb"[0-9A-F.-]*"
# In a text of the answer a quote is escaped or doubled, so neither is found within one.
_JSON_PLACE = re.compile(rb',"%s":"(%s)"}\n' % (PAGE_PLACE.encode(), _DIGITS))
_CSV_PLACE = re.compile(rb',"(%s)"\n' % _DIGITS)
_CSV_NAME = b',"%s"\n' % PAGE_PLACE.encode()


@dataclasses.dataclass(frozen=True)
class Cut:
    """A page's rows, the ``cursor`` of the next one and the ``place`` where it begins, both "" where there is none."""

    rows: bytes
    cursor: str = ""
    place: str = ""


class Page(bytes):
    """The body of a page, with what it was ``cut`` from."""

    cut: Cut

    @classmethod
    def of(cls, body: bytes, cut: Cut) -> Page:
        """``body``, which holds the rows of ``cut``."""
        found = cls(body)
        found.cut = cut
        return found


@dataclasses.dataclass(frozen=True)
class Position:
    """What a cursor says, unchecked. ``carried`` tells that the first of ``texts`` is a moment that was the server's;
    it is there too where the caller gave it. The others are order keys; None is NULL."""

    version: str
    digest: str
    carried: bool
    texts: Sequence[str | None]

    def __str__(self) -> str:
        body = msgspec.json.encode((self.version, self.digest, self.carried, self.texts))
        return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def position(query: Mapping[str, Sequence[str]], body: Mapping[str, Any]) -> Position | None:
    """What the cursor of a request says; None where there is none. BadRequestError where it is none that a server
    gave."""
    given = query[CURSOR][0] if query.get(CURSOR) else body.get(CURSOR)
    if given is None:
        return None
    try:
        if not isinstance(given, str) or not 0 < len(given) <= _LONGEST:
            raise ValueError
        found = base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True)
        return Position(*_decoder.decode(found))
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise BadRequestError("the cursor is none of this server's", remedy=_AGAIN, parameter=CURSOR) from None


@dataclasses.dataclass(frozen=True)
class After:
    """The place after which a page begins: typed order keys. ``carried`` as in `Position`."""

    keys: tuple[Any, ...]
    carried: bool

    def encode(self, spec: LambdaSpec) -> str:
        """``&param_…`` for each key, ready for ClickHouse's address."""
        assert spec.paging is not None
        named = enumerate(zip(self.keys, spec.paging.keys, strict=True), start=1)
        texts = ((i, values.write(key, duck_type(of))) for i, (key, of) in named)
        return "".join(f"&param_{PAGE_AFTER}{i}={urllib.parse.quote(text, safe='')}" for i, text in texts)


def begun(
    spec: LambdaSpec, signature: Signature, given: Mapping[str, Any], where: Position, *, now: bool
) -> tuple[After, dict[str, Any]]:
    """Where the page begins that a call with the parameters ``given`` asks for, and its parameters with the moment of
    the page before. ``now`` says that the call leaves ``as_of`` to the server.

    BadRequestError where the cursor is of another version or other parameters, or holds what is no place.
    """
    assert spec.paging is not None
    texts = list(where.texts)
    wrong = BadRequestError(
        f"lambda {spec.name}: the cursor is none of this server's", remedy=_AGAIN, parameter=CURSOR,
        **{"lambda": spec.name},
    )  # fmt: skip
    if where.version != spec.version or where.carried != now or where.digest != digest(signature, given, now=now):
        what = "of another version" if where.version != spec.version else "of a call with other parameters"
        raise BadRequestError(
            f"lambda {spec.name}: the cursor is {what}", remedy=_AGAIN, parameter=CURSOR, **{"lambda": spec.name}
        )
    clock = signature.parameters.get(AS_OF)
    if len(texts) != len(spec.paging.keys) + (clock is not None):
        raise wrong
    try:
        moment = texts.pop(0) if clock is not None else None
        if where.carried and clock is not None:
            read = _read(moment, clock.type)
            if read is None or not clock.allows(read):
                raise wrong
            given = {**given, AS_OF: read}
        keys = tuple(_read(text, duck_type(of)) for text, of in zip(texts, spec.paging.keys, strict=True))
    except ValueError:
        raise wrong from None
    return After(keys, where.carried), dict(given)


def _read(text: str | None, of: DuckType) -> Any:
    """The value of a place's text; ValueError where it is none of type ``of``."""
    if text is None:
        return None
    text.encode()  # half a surrogate pair is no text
    if of.kind is Kind.FLOAT:
        if not _FLOAT.fullmatch(text):
            raise ValueError
        return float(text)
    return values.read_text(text, of)


def digest(signature: Signature, given: Mapping[str, Any], *, now: bool) -> str:
    """Names the parameters of a call, its page's aside, and ``as_of`` where it is left to the server."""
    rest = {**given, AS_OF: None} if now else given
    return hashlib.sha256(signature.encode(rest).encode()).hexdigest()[:16]


def rows_of(given: Mapping[str, Any]) -> str:
    """The parameter that tells how many rows to read: one more than the page has, to know whether there is a next."""
    return f"&param_{PAGE_ROWS}={given[PAGE_SIZE] + 1}"


def cut_page(
    spec: LambdaSpec, signature: Signature, given: Mapping[str, Any], form: Format, rows: bytes, *, carried: bool
) -> Cut:
    """The page of a call with the parameters ``given``; ``rows`` are those that ClickHouse answered, with `PAGE_PLACE`,
    ``carried`` says that its moment was the server's.

    PageError where the next page can't begin after the last row of this one.
    """
    most = given[PAGE_SIZE]
    kept, places = _CUT[form.suffix](rows, most)
    if len(places) <= most:
        return Cut(kept)
    last, following = places[most - 1], places[most]
    assert spec.paging is not None
    if last == following:
        raise PageError(
            f"lambda {spec.name}: two rows are alike in {spec.paging.order}, and a page would end between them",
            remedy="tell its owner: what is tested to be unique is not", **{"lambda": spec.name},
        )  # fmt: skip
    texts = [None if part == b"-" else _text(part, spec.name) for part in last.split(b".")[1:]]
    cursor = str(Position(spec.version, digest(signature, given, now=carried), carried, texts))
    if len(cursor) > _LONGEST:
        raise PageError(
            f"lambda {spec.name}: the order keys of a row are too long for a cursor",
            remedy="tell its owner to order by shorter texts", **{"lambda": spec.name},
        )  # fmt: skip
    return Cut(kept, cursor, repr(texts[AS_OF in signature.parameters :]))


def _text(part: bytes, name: str) -> str:
    try:
        return binascii.unhexlify(part).decode()
    except UnicodeDecodeError:
        raise PageError(
            f"lambda {name}: an order key is no text", remedy="tell its owner", **{"lambda": name}
        ) from None


_Cutter = Callable[[bytes, int], tuple[bytes, list[bytes]]]
"""The first rows, without their places, and the places of all."""


def _cut_json(rows: bytes, most: int) -> tuple[bytes, list[bytes]]:
    found = list(_JSON_PLACE.finditer(rows))
    end = found[most - 1].end() if len(found) > most else len(rows)
    return _JSON_PLACE.sub(b"}\n", rows[:end]), [m[1] for m in found]


def _cut_csv(rows: bytes, most: int) -> tuple[bytes, list[bytes]]:
    found = list(_CSV_PLACE.finditer(rows))
    end = found[most - 1].end() if len(found) > most else len(rows)
    return _CSV_PLACE.sub(b"\n", rows[:end]).replace(_CSV_NAME, b"\n", 1), [m[1] for m in found]


def _cut_arrow(rows: bytes, most: int) -> tuple[bytes, list[bytes]]:
    table, places = _cut_table(pa.ipc.open_stream(rows).read_all(), most)
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue().to_pybytes(), places


def _cut_parquet(rows: bytes, most: int) -> tuple[bytes, list[bytes]]:
    table, places = _cut_table(pq.read_table(pa.BufferReader(rows)), most)
    out = pa.BufferOutputStream()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue().to_pybytes(), places


def _cut_table(table: pa.Table, most: int) -> tuple[pa.Table, list[bytes]]:
    places = [place.encode() for place in table.column(PAGE_PLACE).cast(pa.string()).to_pylist()]
    return table.drop_columns([PAGE_PLACE]).slice(0, most), places


_CUT: Mapping[str, _Cutter] = {
    "json": _cut_json, "ndjson": _cut_json, "csv": _cut_csv, "arrow": _cut_arrow, "parquet": _cut_parquet,
}  # fmt: skip
assert _CUT.keys() == BY_SUFFIX.keys()
