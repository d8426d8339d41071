"""What an aggregate is made of: components that a state table can keep, and a formula over their merged values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from sqlglot import exp

from realtime.transpile.form import call, form
from realtime.transpile.lower import Lower, type_of
from realtime.transpile.rules.order import comparable
from realtime.transpile.types import NESTED, DuckType, Kind

Over = Callable[[exp.Expr], exp.Expr]


@dataclasses.dataclass(frozen=True)
class Component:
    """One ClickHouse aggregate call; rows where ``condition`` does not hold are left out."""

    function: str
    arguments: tuple[exp.Expr, ...] = ()
    condition: exp.Expr | None = None


@dataclasses.dataclass(frozen=True)
class Aggregate:
    """Components, and the value made of their results."""

    components: tuple[Component, ...]
    finish: Callable[..., exp.Expr] = lambda x: x


@dataclasses.dataclass(frozen=True)
class Call:
    """An aggregate call taken apart: ``value`` is its first argument, ``order`` the keys of its ORDER BY."""

    node: exp.Expr
    value: exp.Expr
    distinct: bool
    order: tuple[exp.Ordered, ...]
    condition: exp.Expr | None

    @property
    def suffix(self) -> str:
        """The combinator for DISTINCT."""
        return "Distinct" if self.distinct else ""


Spec = Callable[[Lower, Call], Aggregate]


def nullable(x: exp.Expr) -> exp.Expr:
    """``x`` in a type that may be NULL, of which no rows give NULL."""
    return call("toNullable", x)


def valued(x: exp.Expr, of: DuckType) -> exp.Expr:
    """``x`` in a type that may be NULL, unless it is a list, a struct or a map, which never is."""
    return x if of.kind in NESTED else nullable(x)


def rank(lower: Lower, order: tuple[exp.Ordered, ...], null: str) -> exp.Expr:
    """The keys as one comparable value, in which NULL comes last, and NaN after every number."""
    parts: list[exp.Expr] = []
    for key in order:
        x = ranking(lower, key.this)
        if type_of(key.this).kind is Kind.FLOAT:
            parts += [call(null, x), call("isNaN", x), form("if(isNaN(x), 0., x)", x=nullable(x))]
        else:
            parts += [call(null, x), nullable(x)]
    return call("tuple", *parts)


def ranking(lower: Lower, key: exp.Expr) -> exp.Expr:
    """``key`` as what orders it as DuckDB does."""
    return comparable(lower(key), type_of(key))
