"""Rows of two views, ``batch`` and ``realtime``, matched inside DuckDB.

First, rows that are equal in every column cancel out, counted with their multiplicity: one aggregation that spills
to disk. What is left has a floating value of another rounding, or differs. Of it, rows that are equal in all other
columns are numbered in the order of their floating values on each side, and those of one number are a pair; a pair
whose floating values are close cancels out too. Where several rows differ in nothing but floating columns, rounding
can change their order: so they are numbered by rounded values first, then by the values as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import jinja2
import msgspec
import sqlglot
from sqlglot import exp

from realtime.planner.ir import Step
from realtime.transpile.types import DuckType, Kind, duck_type

# Floating sums depend on the order of their terms; measured differences stay below 1e-12 (relative).
RELATIVE_TOLERANCE = 1e-9
EXAMPLES = 5


_TEMPLATES = jinja2.Environment(loader=jinja2.PackageLoader("realtime.parity", ""), undefined=jinja2.StrictUndefined)
_NEAR = sqlglot.parse_one(
    ":l IS NOT DISTINCT FROM :r OR coalesce("
    "isfinite(:l) AND isfinite(:r) AND abs(:l - :r) <= :tolerance * greatest(abs(:l), abs(:r)), FALSE)"
)
_LISTS_NEAR = sqlglot.parse_one("len(:l) IS NOT DISTINCT FROM len(:r) AND coalesce(list_bool_and(:each), TRUE)")
_BOTH_NULL_OR_NEITHER = sqlglot.parse_one("(:l IS NULL) = (:r IS NULL)")
_SIX_DIGITS = sqlglot.parse_one(
    "CASE WHEN NOT isfinite(:x) OR :x = 0 THEN :x "
    "ELSE round(:x / pow(10, floor(log10(abs(:x)))), 6) * pow(10, floor(log10(abs(:x)))) END"
)


class Example(msgspec.Struct, frozen=True):
    """A row that is only on ``side`` (``batch`` or ``realtime``), or ``times`` more often; its values as text.

    ``differs`` names the columns in which the other side's row of the same key differs; None where there is no
    such row, or the model has no key.
    """

    side: str
    row: Mapping[str, str | None]
    times: int = 1
    differs: tuple[str, ...] | None = None

    def __str__(self) -> str:
        values = ", ".join(f"{name}={'NULL' if value is None else value}" for name, value in self.row.items())
        where = f"only in {self.side}" if self.times == 1 else f"{self.times} times more in {self.side}"
        return f"{where}: {values}" + (f" (differs in {', '.join(self.differs)})" if self.differs else "")


def match(connection: duckdb.DuckDBPyConnection, step: Step) -> None:
    """Leaves the rows without a match in the table ``difference``: their columns, and ``n``, how often they are in
    batch more than in real time (negative: in real time more)."""
    kinds = {f"c{i}": duck_type(column.type) for i, column in enumerate(step.columns)}
    _run(connection, "cancel.sql", all=list(kinds))
    floats = [name for name, kind in kinds.items() if _floating(kind)]
    if not floats:
        return
    for order in ([_rounded(name, kinds[name]) for name in floats], floats):
        if differing_rows(connection):
            _pair(connection, kinds, floats, order)


def differing_rows(connection: duckdb.DuckDBPyConnection) -> int:
    """How many rows are on one side only."""
    row = connection.execute("SELECT coalesce(sum(abs(n)), 0) FROM difference").fetchone()
    assert row is not None
    return int(row[0])


def examples(connection: duckdb.DuckDBPyConnection, step: Step) -> tuple[Example, ...]:
    """The first rows of ``difference`` by key."""
    names = [column.name for column in step.columns]
    every = [f"c{i}" for i in range(len(names))]
    keys = [f"c{names.index(key)}" for key in step.keys] if set(step.keys) <= set(names) else []
    close = [_both_close(f"c{i}", "shown", "other", duck_type(c.type)) for i, c in enumerate(step.columns)]
    rows = _run(connection, "examples.sql", all=every, keys=keys, close=close, limit=EXAMPLES).fetchall()
    return tuple(_example(row, names) for row in rows)


def _example(row: Sequence[Any], names: Sequence[str]) -> Example:
    """An example of what ``examples.sql`` selects: n, the values, whether there is a partner, where it differs."""
    n, values, partner, flags = int(row[0]), row[1 : len(names) + 1], row[len(names) + 1], row[len(names) + 2 :]
    return Example(
        side="batch" if n > 0 else "realtime",
        row=dict(zip(names, values, strict=True)),
        times=abs(n),
        differs=tuple(name for name, flag in zip(names, flags, strict=True) if flag) if partner else None,
    )


def _pair(
    connection: duckdb.DuckDBPyConnection, kinds: Mapping[str, DuckType], floats: Sequence[str], order: Sequence[str]
) -> None:
    exact = [name for name in kinds if name not in floats]
    close = [_both_close(c, "b", "r", kinds[c]) for c in floats]
    _run(connection, "pair.sql", all=list(kinds), exact=exact, floats=floats, order=order, close=close)


def _floating(kind: DuckType) -> bool:
    """Whether values of ``kind`` are, or hold, floating numbers."""
    if kind.kind is Kind.MAP:
        return _floating(kind.item)
    inner = [*(t for _, t in kind.fields), *([kind.element] if kind.element else [])]
    return kind.kind is Kind.FLOAT or any(_floating(t) for t in inner)


def _rounded(name: str, kind: DuckType) -> str:
    """``name`` to about six digits, to order by."""
    return _filled(_SIX_DIGITS, x=exp.column(name)).sql("duckdb") if kind.kind is Kind.FLOAT else name


def _both_close(name: str, left: str, right: str, kind: DuckType) -> str:
    """The condition under which column ``name`` of two relations counts as equal."""
    return _close(exp.column(name, table=left), exp.column(name, table=right), kind).sql("duckdb")


def _close(left: exp.Expr, right: exp.Expr, kind: DuckType, depth: int = 0) -> exp.Expr:
    """The condition under which two values of ``kind`` count as equal; never NULL."""
    if kind.kind is Kind.FLOAT:
        return _filled(_NEAR, l=left, r=right, tolerance=exp.Literal.number(RELATIVE_TOLERANCE))
    if not _floating(kind):
        return exp.NullSafeEQ(this=left, expression=right)
    if kind.kind is Kind.STRUCT:
        fields = [
            _close(_call("struct_extract", left, n), _call("struct_extract", right, n), t, depth)
            for n, t in kind.fields
        ]
        return exp.paren(exp.and_(_filled(_BOTH_NULL_OR_NEITHER, l=left, r=right), *fields))
    if kind.kind is Kind.MAP:
        keys = exp.NullSafeEQ(this=_call("map_keys", left), expression=_call("map_keys", right))
        values = _lists_close(_call("map_values", left), _call("map_values", right), kind.item, depth)
        return exp.paren(exp.and_(keys, values))
    return _lists_close(left, right, kind.item, depth)


def _lists_close(left: exp.Expr, right: exp.Expr, item: DuckType, depth: int) -> exp.Expr:
    pair = exp.column(f"p{depth}")
    body = _close(_call("array_extract", pair, 1), _call("array_extract", pair, 2), item, depth + 1)
    each = exp.Lambda(this=body, expressions=[pair.this.copy()])
    return _filled(_LISTS_NEAR, l=left, r=right, each=_call("list_transform", _call("list_zip", left, right), each))


def _filled(template: exp.Expr, **values: exp.Expr) -> exp.Expr:
    return exp.paren(exp.replace_placeholders(template.copy(), **values))


def _call(name: str, *arguments: exp.Expr | str | int) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=[exp.convert(a, copy=True) for a in arguments])


def _run(connection: duckdb.DuckDBPyConnection, template: str, **values: object) -> duckdb.DuckDBPyConnection:
    return connection.execute(_TEMPLATES.get_template(template).render(**values))
