"""DuckDB trees with types to ClickHouse trees: the driver of the tables in `realtime.transpile.rules`.

Refuse by default: a node that no table lists, or that carries an argument its rule does not name,
raises RefusedError.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from realtime.errors import RefusedError, together
from realtime.project.binder import Binder
from realtime.transpile.form import cast, form
from realtime.transpile.types import DuckType, Kind

if TYPE_CHECKING:
    Build = Callable[["Lower", Any], exp.Expr]


@dataclasses.dataclass(frozen=True)
class Rule:
    """How one construct is written in ClickHouse.

    ``build`` takes the driver and the node. ``args`` names the arguments of the node that it
    understands beside ``this``, ``expression`` and ``expressions``: any other that is set is refused.
    """

    build: Build
    args: frozenset[str] = frozenset()


def rule(build: Build, args: str = "") -> Rule:
    """A `Rule`; ``args`` are names separated by blanks."""
    return Rule(build, frozenset(args.split()))


_ALWAYS = frozenset({"this", "expression", "expressions"})


def type_of(node: exp.Expr) -> DuckType:
    """The type that DuckDB's binder gave ``node`` (see `realtime.transpile.annotate`)."""
    found = node.meta.get("duck")
    if found is None:
        raise refused(node, "DuckDB gives this expression no type by itself", remedy="add an explicit CAST")
    assert isinstance(found, DuckType)
    return found


def refused(node: exp.Expr, reason: str, *, remedy: str = "", construct: str = "") -> RefusedError:
    """A refusal at the place of ``node``."""
    line, position = place(node)
    error = RefusedError(reason, remedy=remedy, construct=construct or shown(node), line=line, column=position)
    error.part = next((p.alias for p in reversed(list(parents(node))) if isinstance(p, exp.CTE)), "")
    return error


def parents(node: exp.Expr) -> Iterator[exp.Expr]:
    """What stands around ``node``, the nearest first."""
    at = node.parent
    while at is not None:
        yield at
        at = at.parent


def place(node: exp.Expr) -> tuple[int, int]:
    """Line and column of the first token under ``node`` that the parser kept, or beside it (its alias, say);
    zeros where none is known."""
    at: exp.Expr | None = node
    while at is not None:
        # sqlglot's ``col`` is where the token ends.
        known = [(m["line"], m["col"] - (m["end"] - m["start"])) for m in (n.meta for n in at.walk()) if "line" in m]
        if known:
            return min(known)
        at = None if isinstance(at.parent, exp.Query) else at.parent
    return (0, 0)


_SHOWN = 80


def shown(node: exp.Expr, dialect: str = "duckdb") -> str:
    """``node`` about as its author wrote it in ``dialect``: without what qualifying added, and not too long."""
    copy = node.copy()
    for column in copy.find_all(exp.Column):
        column.set("table", None)
    for table in copy.find_all(exp.Table):
        table.set("db", None)
        table.set("catalog", None)
    for identifier in copy.find_all(exp.Identifier):
        identifier.set("quoted", not _PLAIN.fullmatch(identifier.name))
    text = copy.sql(dialect, comments=False)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_NAMES: dict[type[exp.Expr], str] = {
    exp.GroupConcat: "string_agg",
    exp.ArrayAgg: "list",
    exp.ArrayOverlaps: "list_has_any",
}


def name_of(node: exp.Expr) -> str:
    """What DuckDB calls the function that ``node`` calls."""
    if isinstance(node, exp.Anonymous):
        return str(node.name).lower()
    if not isinstance(node, exp.Func):
        return str(node.key)
    return _NAMES.get(type(node)) or node.sql("duckdb").partition("(")[0].lower()


KEY = "key"
"""In the meta of a float by which its select is grouped, where it stands outside of aggregates: there it is what the
group has, one NaN and one zero."""


def one_float(x: exp.Expr) -> exp.Expr:
    """The float ``x`` with one NaN and one zero: equal values are the same bytes."""
    return form("if(isNaN(x), nan, x + 0.)", x=x)


@dataclasses.dataclass(frozen=True)
class Lower:
    """The driver: ``lower(node)`` is the ClickHouse expression for a typed DuckDB one."""

    binder: Binder
    rules: Mapping[type[exp.Expr], Rule]
    functions: Mapping[str, Rule]
    convert: Callable[[exp.Expr, exp.Expr, DuckType, bool], exp.Expr]
    """``convert(node, lowered, type, try_)``: ``lowered``, which has the type of ``node``, cast to ``type``
    with DuckDB's semantics (`realtime.transpile.rules.casts`)."""
    lower_query: Callable[[Lower, exp.Query], exp.Query]
    """Lowers a query (`realtime.transpile.query`)."""
    view: Callable[[exp.Table], exp.Query | None]
    """The typed query of a view, None for a table (`realtime.transpile.origins`)."""
    refusals: list[RefusedError] = dataclasses.field(default_factory=list)
    """What was refused so far: the rest of the statement is tried all the same, to name everything at once."""
    left_out: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    """Why a function that no table lists is refused, and what to write instead, by DuckDB's name."""
    _numbers: Iterator[int] = dataclasses.field(default_factory=lambda: itertools.count(1))

    def __call__(self, node: exp.Expr) -> exp.Expr:
        """The ClickHouse form of an expression; RefusedError where there is none."""
        lowered = self._built(node)
        if KEY not in node.meta:
            return lowered
        one, wanted = one_float(lowered), type_of(node)
        return one if wanted.name == "DOUBLE" else cast(one, wanted.clickhouse)

    def _built(self, node: exp.Expr) -> exp.Expr:
        found = self._rule(node)
        unknown = {k for k, v in node.args.items() if v not in (None, False, [], "")} - _ALWAYS - found.args
        if unknown:
            raise refused(node, f"{', '.join(sorted(unknown))} of {name_of(node)} has no exact form")
        return found.build(self, node)

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Notes a refusal and goes on; `check` ends with what was noted."""
        try:
            yield
        except RefusedError as error:
            self.refusals.append(error)

    def check(self) -> None:
        """RefusedError where anything was refused."""
        if self.refusals:
            raise together(self.refusals)

    def to(self, node: exp.Expr, target: DuckType) -> exp.Expr:
        """``node`` lowered and implicitly cast to ``target``."""
        if type_of(node) == target:
            return self(node)
        return self.convert(node, self(node), target, False)

    def typed(self, node: exp.Expr, target: DuckType | None = None) -> exp.Expr:
        """``node`` lowered to exactly the ClickHouse type of its DuckDB type, as a column needs it."""
        wanted = target or type_of(node)
        lowered = self.to(node, wanted)
        if isinstance(node, exp.Column) and type_of(node) == wanted:
            return lowered
        return cast(lowered, wanted.clickhouse)

    def query(self, node: exp.Query) -> exp.Query:
        """The ClickHouse form of a nested query."""
        return self.lower_query(self, node)

    def condition(self, node: exp.Expr) -> exp.Expr:
        """A boolean expression, as WHERE and CASE take one; numbers and text are refused."""
        found = type_of(node)
        if found.kind is Kind.NULL:
            return cast(exp.null(), "Nullable(UInt8)")
        if found.kind is not Kind.BOOLEAN:
            raise refused(node, f"{found} where a BOOLEAN is expected", remedy="compare it, as in x <> 0")
        return self(node)

    def canonical(self, node: exp.Expr) -> exp.Expr:
        """``node`` so that equal values are the same bytes: for floats one NaN and one zero (grouping, DISTINCT)."""
        found = type_of(node)
        if found.kind is not Kind.FLOAT and found.holds(Kind.FLOAT):
            raise refused(node, f"equal values of {found} are not the same bytes", remedy="take its fields or elements")
        return one_float(self._built(node.unnest())) if found.kind is Kind.FLOAT else self(node)

    def fresh(self, base: str) -> str:
        """An alias that no other query of this statement has."""
        return f"_{base}_{next(self._numbers)}"

    def _rule(self, node: exp.Expr) -> Rule:
        named = isinstance(node, exp.Anonymous)
        found = self.functions.get(node.name.lower()) if named else self.rules.get(type(node))
        if found is None:
            raise self.unknown(node)
        return found

    def unknown(self, node: exp.Expr) -> RefusedError:
        """The refusal of what no table lists."""
        default = (f"{name_of(node)} has no exact ClickHouse form", "see docs/sql.md for what is supported")
        reason, remedy = self.left_out.get(name_of(node), default)
        return refused(node, reason, remedy=remedy)
