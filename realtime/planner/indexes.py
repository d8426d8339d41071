"""Skip indexes by hint: ``indexes: [{columns: text, type: text}]``, each leaving out what holds no wanted row.

An index never changes an answer: what it lets through is looked at as before. So it stands only on columns that all
rows which are merged into one share, and not on floating numbers, of which equal ones may differ in their bytes.
A vector index is used only by lambdas that may be approximate (see `realtime.planner.nearest`): no other query is
written as ClickHouse asks for to take it.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from realtime.emit.names import quoted
from realtime.planner import hints
from realtime.planner.ir import INDEX_PREFIX, Index, SourceSpec
from realtime.transpile.types import Kind

_TYPES = {
    "text": "text(tokenizer = ngrams(3))",
    "bloom": "bloom_filter(0.01)",
    "set": "set(1000)",
    "minmax": "minmax",
}
VECTOR = "vector"
DISTANCES = {"array_cosine_distance": "cosineDistance", "array_distance": "L2Distance"}
"""DuckDB's functions by which rows are ordered, and the distance of ClickHouse's index that finds the nearest by it."""
_OPTIONS = {"cosine": "cosineDistance", "euclidean": "L2Distance"}
_SCALARS = frozenset(
    {Kind.INTEGER, Kind.DECIMAL, Kind.BOOLEAN, Kind.TEXT, Kind.ENUM, Kind.UUID, Kind.DATE, Kind.TIMESTAMP}
    | {Kind.TIMESTAMPTZ}
)
_EXAMPLE = "write a list, as in `indexes: [{columns: text, type: text}, {columns: [sender_id, room], type: bloom}]`"


def indexes(
    options: Mapping[str, Any], kinds: Mapping[str, Kind], whose: str, vectors: Mapping[str, int] | None = None
) -> tuple[Index, ...]:
    """The indexes that ``options`` ask for, one a column; ``kinds`` are those of the columns that may have one, called
    ``whose``, ``vectors`` the sizes of those that may have a vector index. RefusedError where one can't be."""
    given = options.get("indexes") or []
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        raise hints.wrong("indexes", f"is {given!r}", _EXAMPLE)
    found: dict[str, Index] = {}
    for one in given:
        of_vectors = one.get("type") == VECTOR
        for index in _of_vectors(one, vectors or {}) if of_vectors else _of(one, kinds, whose):
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
        yield _named(kind, name, _TYPES[kind])


def vector_index(source: SourceSpec, column: str, function: str) -> Index | None:
    """The index of ``source`` that finds the vectors in ``column`` that are nearest by ClickHouse's ``function``."""
    return next((i for i in source.indexes if i.expression == quoted(column) and f"'{function}'" in i.type), None)


def hint(column: str, function: str) -> str:
    """What an author writes to have that index."""
    distance = next(option for option, name in _OPTIONS.items() if name == function)
    return f"{{columns: {column}, type: {VECTOR}, distance: {distance}}}"


def _of_vectors(one: Mapping[str, Any], sizes: Mapping[str, int]) -> Iterator[Index]:
    example = "write {columns: embedding, type: vector, distance: cosine}"
    unknown = sorted(map(str, set(one) - {"columns", "type", "distance"}))
    columns, distance = hints.names(one, "columns"), one.get("distance", "cosine")
    if unknown or not columns:
        raise hints.wrong("indexes", f"has {', '.join(unknown)}" if unknown else "names no columns", example)
    if distance not in _OPTIONS:
        raise hints.wrong("indexes", f"has distance {distance!r}", f"it is one of {', '.join(_OPTIONS)}")
    for name in columns:
        if name not in sizes:
            found = ", ".join(sizes) or "none"
            remedy = f"it takes columns of type FLOAT[n] of a source; here: {found}"
            raise hints.wrong("indexes", f"asks for a vector index of {name}", remedy)
        kind = f"vector_similarity('hnsw', '{_OPTIONS[distance]}', {sizes[name]})"
        yield _named(VECTOR, name, kind)


def _named(kind: str, column: str, form: str) -> Index:
    mark = hashlib.sha256(f"{column} {form}".encode()).hexdigest()[:6]
    plain = re.sub(r"\W", "_", column, flags=re.ASCII)
    return Index(f"{INDEX_PREFIX}{kind}_{plain}_{mark}", quoted(column), form)


def _type(given: Any) -> str:
    if given not in _TYPES:
        known = (*_TYPES, VECTOR)
        close = difflib.get_close_matches(str(given), known, 1)
        remedy = f"{f'did you mean {close[0]}? ' if close else ''}it is one of {', '.join(known)}"
        raise hints.wrong("indexes", f"has type {given!r}", remedy)
    return str(given)
