"""Skip indexes by hint: ``indexes: [{columns: text, type: text}]``, each leaving out what holds no wanted row.

An index never changes an answer: what it lets through is looked at as before. So it stands only on columns that all
rows which are merged into one share, and not on floating numbers, of which equal ones may differ in their bytes.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from realtime.emit.names import quoted
from realtime.errors import RefusedError
from realtime.planner import hints
from realtime.planner.ir import INDEX_PREFIX, Index
from realtime.transpile.types import Kind

_TYPES = {
    "text": "text(tokenizer = ngrams(3))",
    "bloom": "bloom_filter(0.01)",
    "set": "set(1000)",
    "minmax": "minmax",
}
_SCALARS = frozenset(
    {Kind.INTEGER, Kind.DECIMAL, Kind.BOOLEAN, Kind.TEXT, Kind.ENUM, Kind.UUID, Kind.DATE, Kind.TIMESTAMP}
    | {Kind.TIMESTAMPTZ}
)
_EXAMPLE = "write a list, as in `indexes: [{columns: text, type: text}, {columns: [sender_id, room], type: bloom}]`"


def indexes(options: Mapping[str, Any], kinds: Mapping[str, Kind], whose: str) -> tuple[Index, ...]:
    """The indexes that ``options`` ask for, one a column; ``kinds`` are those of the columns that may have one, called
    ``whose``. RefusedError where one can't be."""
    given = options.get("indexes") or []
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        raise hints.wrong("indexes", f"is {given!r}", _EXAMPLE)
    found: dict[str, Index] = {}
    for one in given:
        for index in _of(one, kinds, whose):
            if index.name in found:
                raise hints.wrong("indexes", f"has the same {index.type} index twice", "leave one out")
            found[index.name] = index
    return tuple(found.values())


def _of(one: Mapping[str, Any], kinds: Mapping[str, Kind], whose: str) -> Iterator[Index]:
    unknown = sorted(map(str, set(one) - {"columns", "type"}))
    columns = hints.names(one, "columns")
    if unknown or not columns:
        raise hints.wrong("indexes", f"has {', '.join(unknown)}" if unknown else "names no columns", _EXAMPLE)
    kind = _type(one.get("type"))
    for name in columns:
        if name not in kinds:
            remedy = f"{whose} are {', '.join(kinds) or 'none'}"
            raise hints.wrong("indexes", f"names {name}, which is none of {whose}", remedy)
        allowed = frozenset({Kind.TEXT}) if kind == "text" else _SCALARS
        if kinds[name] not in allowed:
            remedy = f"a {kind} index takes columns of {', '.join(sorted(allowed))}"
            raise hints.wrong("indexes", f"asks for a {kind} index of {name}, which is {kinds[name]}", remedy)
        mark = hashlib.sha256(f"{name} {_TYPES[kind]}".encode()).hexdigest()[:6]
        plain = re.sub(r"\W", "_", name, flags=re.ASCII)
        yield Index(f"{INDEX_PREFIX}{kind}_{plain}_{mark}", quoted(name), _TYPES[kind])


def _type(given: Any) -> str:
    if given == "vector":
        raise _approximate()
    if given not in _TYPES:
        close = difflib.get_close_matches(str(given), _TYPES, 1)
        remedy = f"{f'did you mean {close[0]}? ' if close else ''}it is one of {', '.join(_TYPES)}"
        raise hints.wrong("indexes", f"has type {given!r}", remedy)
    return str(given)


def _approximate() -> RefusedError:
    return hints.wrong(
        "indexes",
        "asks for a vector index, whose answers are approximate: batch would find other rows",
        "leave it out, and let the lambda look at every row: docs/lambdas.md, The nearest vectors",
    )
