"""What a dialect is made of, and the driver of its tables.

Refuse by default: a node that neither `realtime.dialects.shared` nor the dialect's own table lists, or that
carries an argument its rule does not name, raises RefusedError.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import sqlglot
from sqlglot import exp

from realtime.errors import RefusedError, together
from realtime.project.binder import Binder
from realtime.transpile.annotate import aggregated, probe
from realtime.transpile.lower import place, shown
from realtime.transpile.types import DuckType, Kind

Build = Callable[["Translation", Any], exp.Expr]


@dataclasses.dataclass(frozen=True)
class Rule:
    """How one construct is written in DuckDB: ``build`` takes the driver and the node, whose operands are
    translated already (None: as it is). ``args`` names the arguments of the node that it understands beside
    ``this``, ``expression`` and ``expressions``."""

    build: Build | None = None
    args: frozenset[str] = frozenset()
    refuses: bool = False
    """Whether it refuses whatever the operands are, which then are not asked."""


def rule(build: Build | None = None, args: str = "") -> Rule:
    """A `Rule`; ``args`` are names separated by blanks."""
    return Rule(build, frozenset(args.split()))


def refusal(reason: str, remedy: str) -> Rule:
    """A `Rule` that always refuses, where the table knows why and what to write instead."""

    def build(translation: Translation, node: exp.Expr) -> exp.Expr:
        raise translation.refused(node, reason, remedy)

    return Rule(build, refuses=True)


@dataclasses.dataclass(frozen=True)
class Dialect:
    """One authored dialect. ``sqlglot`` is what sqlglot calls it; ``types`` maps sqlglot's type names to DuckDB's,
    or to why (a reason and a remedy) one has no equal."""

    name: str
    sqlglot: str
    rules: Mapping[type[exp.Expr], Rule]
    types: Mapping[exp.DType, str | tuple[str, str]]
    text_orders: bool = True
    """Whether text is ordered by its bytes, as in DuckDB, and not by a collation."""
    unscaled: str = ""
    """DuckDB's type for a decimal without precision; empty where there is none."""
    keeps_case: bool = False
    """Whether columns are called as they are written; else they fold to lower case (Snowflake's to upper, in which
    nobody asks for them)."""
    group_prefers_alias: bool = False
    """Whether GROUP BY takes a name for that of the select list rather than for a column; in DuckDB a column wins."""
    whole: str = ""
    """DuckDB's type for a decimal without digits after the point; empty where it stays DECIMAL(p, 0)."""


_UNTYPED = "the type of this expression is not known"
_ALWAYS = frozenset({"this", "expression", "expressions"})
NUMBERS = (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT)
EXACT = (Kind.INTEGER, Kind.DECIMAL)


@dataclasses.dataclass(frozen=True)
class Translation:
    """The driver of one statement: ``translate`` replaces every node of a qualified tree, operands first."""

    dialect: Dialect
    shared: Mapping[type[exp.Expr], Rule]
    functions: Mapping[str, Rule]
    binder: Binder
    refusals: list[RefusedError] = dataclasses.field(default_factory=list)
    """What was refused so far."""

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Notes a refusal and goes on; not one that only says that a type is unknown, once others may be why."""
        try:
            yield
        except RefusedError as error:
            if not self.refusals or error.message != _UNTYPED:
                self.refusals.append(error)

    def whole(self, tree: exp.Query) -> exp.Query:
        """`translate` of a statement; RefusedError with every refusal in it."""
        with self.noting():
            self.translate(tree)
        if self.refusals:
            raise together(self.refusals)
        return tree

    def translate(self, node: exp.Expr) -> exp.Expr:
        """What stands for ``node`` in DuckDB; ``node`` is replaced where it has a parent."""
        # Before its operands: what is refused is what was written, not what sqlglot's parser put inside it.
        found = self._rule(node)
        if found.refuses and found.build is not None:
            return found.build(self, node)
        for child in _operands(node):
            # What stands beside it in a select is tried all the same, to name every refusal at once.
            with self.noting() if isinstance(node, exp.Select) else contextlib.nullcontext():
                self.translate(child)
        given = {k for k, v in node.args.items() if v not in (None, False, [], "")} - _ALWAYS - found.args
        if given and "*" not in found.args:
            raise self.refused(node, f"{', '.join(sorted(given))} of {node.key} has no equal in DuckDB")
        if found.build is None:
            return node
        at = place(node)
        built = found.build(self, node)
        if built is not node:
            _keep_place(built, at)
            node.replace(built)
        return built

    def type_of(self, node: exp.Expr) -> DuckType:
        """The type of a translated expression; it stands for the type in the authored dialect."""
        select = node.find_ancestor(exp.Select)
        if "duck" not in node.meta and select is not None:
            named = [p for p in select.expressions if p.alias == node.name]
            if isinstance(node, exp.Column) and not node.table and named:
                # An alias of the select list, as ORDER BY names it.
                return self.type_of(named[0].unalias())
            probe([node], select, select.args.get("group") if aggregated(node) else None, self.binder)
        found = node.meta.get("duck")
        if found is None:
            raise self.refused(node, _UNTYPED, "add an explicit CAST")
        assert isinstance(found, DuckType)
        return found

    def kind_of(self, node: exp.Expr) -> Kind:
        """The family of `type_of`."""
        return self.type_of(node).kind

    def duckdb_type(self, node: exp.Cast | exp.TryCast) -> str:
        """`duckdb_type` of what ``node`` casts to; a refusal names its place."""
        try:
            return duckdb_type(self.dialect, node.args["to"])
        except RefusedError as error:
            error.line, error.column = place(node)
            raise

    def refused(self, node: exp.Expr, reason: str, remedy: str = "") -> RefusedError:
        """A refusal at the place of ``node``."""
        line, column = place(node)
        return RefusedError(
            reason, remedy=remedy, construct=shown(node, self.dialect.sqlglot), line=line, column=column
        )

    def _rule(self, node: exp.Expr) -> Rule:
        if isinstance(node, exp.Anonymous):
            found = self.functions.get(node.name.lower())
        else:
            found = self.dialect.rules.get(type(node)) or self.shared.get(type(node))
        if found is None:
            what = node.sql(self.dialect.sqlglot).partition("(")[0] if isinstance(node, exp.Func) else node.key
            raise self.refused(
                node,
                f"{what} of {self.dialect.name} is not known to mean the same in DuckDB",
                "see docs/dialects.md for what is",
            )
        return found


def duckdb_type(dialect: Dialect, authored: exp.DataType) -> str:
    """DuckDB's name of the type that has the values of ``authored``; RefusedError where there is none."""
    shown_type = authored.sql(dialect.sqlglot)
    if authored.this == exp.DType.DECIMAL:
        return _decimal(dialect, authored, shown_type)
    found = dialect.types.get(authored.this)
    if found is None:
        known = [
            exp.DataType(this=t).sql(dialect.sqlglot).lower() for t, f in dialect.types.items() if isinstance(f, str)
        ]
        raise RefusedError(
            f"this type of {dialect.name} has no equal in DuckDB",
            construct=shown_type,
            remedy=f"types that have: {', '.join(sorted({*known, 'decimal(p, s)'}))}",
        )
    if isinstance(found, tuple):
        raise RefusedError(found[0], construct=shown_type, remedy=found[1])
    if authored.expressions and found != "VARCHAR":
        plain = exp.DataType(this=authored.this).sql(dialect.sqlglot)
        raise RefusedError(
            f"{dialect.name} rounds values to it, DuckDB does not", construct=shown_type, remedy=f"use {plain}"
        )
    return found


def _decimal(dialect: Dialect, authored: exp.DataType, shown_type: str) -> str:
    numbers = [int(p.name) for p in authored.expressions]
    if not numbers and not dialect.unscaled:
        raise RefusedError(
            f"without precision it keeps more digits than DuckDB's decimals in {dialect.name}",
            construct=shown_type,
            remedy="give precision and scale, as in numeric(18, 2)",
        )
    if not numbers:
        return dialect.unscaled
    precision, scale = [*numbers, 0][:2]
    if precision > 38 or not 0 <= scale <= precision:
        raise RefusedError(
            "DuckDB's decimals have up to 38 digits, and none beyond them",
            construct=shown_type,
            remedy="declare what the values need, as in numeric(18, 2)",
        )
    return dialect.whole if scale == 0 and dialect.whole else f"DECIMAL({precision}, {scale})"


# Names are resolved in what is read: it is translated before what reads it.
_FIRST = ("with_", "from_", "joins", "where", "group")


def _operands(node: exp.Expr) -> list[exp.Expr]:
    if not isinstance(node, exp.Query):
        return list(node.iter_expressions())
    first = [c for name in _FIRST for c in _listed(node.args.get(name))]
    return first + [c for name, value in node.args.items() if name not in _FIRST for c in _listed(value)]


def _listed(value: Any) -> list[exp.Expr]:
    return [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, exp.Expr)]


def _keep_place(node: exp.Expr, at: tuple[int, int]) -> None:
    """Lets a built expression name the place of what it replaces (`realtime.transpile.lower.place` reads it)."""
    line, column = at
    if line and place(node) == (0, 0):
        node.meta.update(line=line, col=column, start=0, end=0)


def form(template: str, /, **parts: exp.Expr | str) -> exp.Expr:
    """A DuckDB expression: each bare name of ``template`` that is in ``parts`` is replaced by a copy of that part,
    or, in a type's place, by the type that the part names.

    >>> form("CAST(x AS BIGINT) + 1", x=exp.column("a") * exp.column("b")).sql("duckdb")
    'CAST((a * b) AS BIGINT) + 1'
    """
    tree = sqlglot.parse_one(template, read="duckdb")
    assert isinstance(tree, exp.Expr)
    for slot in [c for c in tree.find_all(exp.Column) if not c.table and c.name in parts]:
        part = parts[slot.name]
        value = exp.Literal.string(part) if isinstance(part, str) else _enclosed(part.copy())
        if slot is tree:
            return value
        slot.replace(value)
    return tree


def _enclosed(value: exp.Expr) -> exp.Expr:
    open_ended = isinstance(value, (exp.Binary, exp.Unary, exp.Between, exp.In, exp.Is, exp.Interval))
    return exp.paren(value, copy=False) if open_ended and not isinstance(value, (exp.Paren, exp.Dot)) else value


def cast(value: exp.Expr, duckdb_type: str) -> exp.Cast:
    """``CAST(value AS type)`` in DuckDB, of a copy."""
    return exp.Cast(this=value.copy(), to=exp.DataType.build(duckdb_type, dialect="duckdb"))
