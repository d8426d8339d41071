"""A warehouse as tables, and the driver that writes typed DuckDB trees by them."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect

from realtime.errors import RefusedError
from realtime.transpile.form import form, text
from realtime.transpile.lower import Lower, Rule, name_of, refused, type_of
from realtime.transpile.types import NESTED, DuckType, Kind

if typing.TYPE_CHECKING:
    from realtime.transpile.lower import Build

Conversion = Callable[["Writer", exp.Expr, DuckType, DuckType], exp.Expr | None]
"""``conversion(writer, x, a, b)``: ``x``, written already and of type ``a``, as ``b``; None where it is not exact."""
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
Aggregate = Callable[["Call", Any], exp.Expr]


@dataclasses.dataclass(frozen=True)
class Warehouse:
    """What one warehouse takes: nothing else is ever written for it."""

    name: str
    title: str
    dialect: type[Dialect]
    types: Mapping[str, str]
    """Types by DuckDB's name; decimals are ``types["DECIMAL"]`` with precision and scale."""
    rules: Mapping[type[exp.Expr], Rule]
    functions: Mapping[str, Rule]
    casts: Mapping[tuple[Kind, Kind], Conversion]
    aggregates: Mapping[type[exp.Expr], Aggregate]
    collation: str
    """The collation that orders text by its bytes, as DuckDB does; empty where that is the default."""
    qualifies: bool
    """Whether it has QUALIFY."""
    filters: bool
    """Whether aggregates take FILTER."""
    ignores_nulls: bool
    """Whether first_value and last_value take IGNORE NULLS."""
    longest_name: int
    """Bytes of a name; longer ones are cut or refused."""
    reserved: frozenset[str] | None
    """Words that stay quoted as names; None: every name is quoted."""
    profile: str
    """``profiles.yml`` of the emitted project."""

    def quotes(self, name: str) -> bool:
        """Whether ``name`` is written in quotes."""
        return self.reserved is None or not _PLAIN.fullmatch(name) or name in self.reserved

    def holds(self, found: DuckType) -> bool:
        """Whether a type of the warehouse holds every value of ``found``."""
        return found.kind is Kind.DECIMAL or found.name in self.types

    def type(self, found: DuckType) -> str:
        """The type that holds every value of ``found``; RefusedError where there is none."""
        if found.kind is Kind.DECIMAL:
            return f"{self.types['DECIMAL']}({found.precision}, {found.scale})"
        if not self.holds(found):
            raise RefusedError(
                f"type {found.name} has no exact form in {self.title}",
                construct=found.name,
                remedy="cast the column to another type in the model",
            )
        return self.types[found.name]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Writer(Lower):
    """The driver: ``writer(node)`` is the warehouse's expression for a typed DuckDB one, of the type that
    ``warehouse.type`` gives."""

    warehouse: Warehouse
    view: Callable[[exp.Table], exp.Query | None] = lambda table: None
    """Warehouses need no look into views: what their engine computes has its types by itself."""

    def to(self, node: exp.Expr, target: DuckType) -> exp.Expr:
        """``node`` written and implicitly cast to ``target``."""
        if type_of(node) == target:
            return self(node)
        if isinstance(node, exp.Literal) and node.is_string:
            return self.constant(node, target)
        return self.converted(node, self(node), target)

    def typed(self, node: exp.Expr, target: DuckType | None = None) -> exp.Expr:
        """``node`` as a column needs it: literals have no type of their own."""
        wanted = target or type_of(node)
        written = self.to(node, wanted)
        loose = isinstance(node.unnest(), (exp.Literal, exp.Null, exp.Neg)) or wanted.kind is Kind.NULL
        return self.cast(written, wanted) if loose else written

    def condition(self, node: exp.Expr) -> exp.Expr:
        """A boolean expression, as WHERE and CASE take one."""
        found = type_of(node)
        if found.kind is Kind.NULL:
            return self.named_cast(exp.null(), self.warehouse.types["BOOLEAN"])
        if found.kind is not Kind.BOOLEAN:
            raise refused(node, f"{found} where a BOOLEAN is expected", remedy="compare it, as in x <> 0")
        return self(node)

    def canonical(self, node: exp.Expr) -> exp.Expr:
        """``node``: both warehouses take every NaN, and both zeros, for equal."""
        return self(node)

    def cast(self, x: exp.Expr, target: DuckType) -> exp.Expr:
        """``CAST(x AS target)``, whatever ``x`` is."""
        return self.named_cast(x, self.warehouse.type(target))

    def named_cast(self, x: exp.Expr, name: str) -> exp.Expr:
        """``CAST(x AS name)``; ``x`` itself where it is that cast."""
        if isinstance(x, exp.Cast) and x.to.args.get("kind") == name:
            return x
        kind = exp.DataType(this=exp.DataType.Type.USERDEFINED, kind=name)
        return exp.Cast(this=x.copy(), to=kind)

    def converted(self, node: exp.Expr, written: exp.Expr, target: DuckType) -> exp.Expr:
        """``written``, which has the type of ``node``, as ``target``; RefusedError where that is not exact."""
        found = type_of(node)
        if found == target:
            return written
        if found.kind is Kind.NULL:
            return self.cast(written, target)
        conversion = self.warehouse.casts.get((found.kind, target.kind))
        done = conversion(self, written, found, target) if conversion is not None else None
        if done is None:
            raise refused(
                node,
                f"no exact cast from {found} to {target} in {self.warehouse.title}",
                remedy="cast to another type first, or keep it as it is",
            )
        return done

    def constant(self, literal: exp.Expr, target: DuckType) -> exp.Expr:
        """A text literal as ``target``, its value computed by DuckDB now."""
        wanted = exp.Cast(this=literal.copy(), to=exp.DataType.build(target.name, dialect="duckdb"))
        value = str(self.binder.constant(exp.cast(wanted, "varchar", dialect="duckdb")))
        if value.endswith("(BC)") or target.kind in (Kind.INTERVAL, *NESTED, Kind.BLOB):
            raise refused(literal, f"a constant of type {target}", remedy="use another type")
        return self.cast(text(value.removesuffix("+00")), target)

    def check_type(self, node: exp.Expr) -> None:
        """RefusedError where the warehouse has no type for ``node``."""
        found = type_of(node)
        if not self.warehouse.holds(found):
            reason = f"type {found} has no exact form in {self.warehouse.title}"
            raise refused(node, reason, remedy="compute it in another model, which stays in DuckDB")

    def ordering(self, node: exp.Expr) -> exp.Expr:
        """``node`` as it is compared and ordered: text by its bytes."""
        written = self(node)
        found = type_of(node)
        if found.kind in _UNORDERED:
            raise refused(node, f"{found} has another order in {self.warehouse.title}", remedy="order by a cast of it")
        return self.collated(written) if found.kind is Kind.TEXT else written

    def collated(self, written: exp.Expr) -> exp.Expr:
        """Text that is compared by its bytes."""
        if not self.warehouse.collation:
            return written
        by = exp.to_identifier(self.warehouse.collation, quoted=True)
        whole = written if isinstance(written, (exp.Column, exp.Anonymous, exp.Cast)) else exp.paren(written)
        return exp.Collate(this=whole, expression=by)

    def uncollated(self, written: exp.Expr) -> exp.Expr:
        """What was computed of `collated` text, as text like any other: two collations can't be compared."""
        if not self.warehouse.collation:
            return written
        return exp.Collate(this=written, expression=exp.to_identifier("default", quoted=True))

    def keys(self, order: exp.Order | None) -> list[exp.Ordered]:
        """ORDER BY's keys, each with DuckDB's place for NULL."""
        return [placed(item, self.ordering(item.this)) for item in (order.expressions if order is not None else [])]

    def _rule(self, node: exp.Expr) -> Rule:
        named = isinstance(node, exp.Anonymous)
        found = self.functions.get(node.name.lower()) if named else self.rules.get(type(node))
        if found is None:
            what = f"{name_of(node)} has no exact form in {self.warehouse.title}"
            raise refused(node, what, remedy="see docs/warehouses.md for what is emitted")
        return found


def placed(item: exp.Expr, key: exp.Expr) -> exp.Ordered:
    """``key`` in the direction of ``item``, NULLs where they are there."""
    desc = bool(item.args.get("desc"))
    nulls = exp.var("NULLS FIRST" if item.args.get("nulls_first") else "NULLS LAST")
    # sqlglot leaves out what is the default; a session of Snowflake may have another.
    return exp.Ordered(this=key, desc=desc, nulls_first=desc, with_fill=nulls)


_UNORDERED = (Kind.UUID, *NESTED, Kind.JSON, Kind.INTERVAL, Kind.OTHER)


def rule(build: Callable[[Writer, Any], exp.Expr], args: str = "") -> Rule:
    """A `Rule` of a warehouse; ``args`` are names separated by blanks."""
    # Tables of warehouses are driven by Writers only.
    return Rule(typing.cast("Build", build), frozenset(args.split()))


@dataclasses.dataclass(frozen=True)
class Call:
    """An aggregate call on its way: its FILTER, DISTINCT and window are the same for every function it becomes."""

    writer: Writer
    condition: exp.Expr | None = None
    distinct: bool = False
    over: Callable[[exp.Expr], exp.Expr] = lambda call: call

    def __call__(self, name: str, x: exp.Expr | None, *rest: exp.Expr) -> exp.Expr:
        """``name(x, rest…)``; ``x`` is None for the star of count."""
        filters = self.writer.warehouse.filters
        if self.condition is not None and not filters:
            x = form("CASE WHEN c THEN x END", c=self.condition, x=x if x is not None else 1)
        first = exp.Star() if x is None else x.copy()
        if self.distinct:
            first = exp.Distinct(expressions=[first])
        made: exp.Expr = exp.Anonymous(this=name, expressions=[first, *(r.copy() for r in rest)])
        if self.condition is not None and filters:
            made = exp.Filter(this=made, expression=exp.Where(this=self.condition.copy()))
        return self.over(made)
