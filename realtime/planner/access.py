"""By which columns the lambdas look rows of a model up: compared with a parameter for equality, or as a range."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import sqlglot
from sqlglot import exp

from realtime.planner.ir import LambdaSpec
from realtime.planner.relations import stored_in
from realtime.planner.selects import relations_of
from realtime.transpile.form import CLICKHOUSE

_RANGES = (exp.GT, exp.GTE, exp.LT, exp.LTE)


@dataclasses.dataclass
class Access:
    """How many lambdas compare each column of a model with ``=``, and how many as a range; ``lambdas`` names them."""

    equal: Counter[str] = dataclasses.field(default_factory=Counter)
    ranged: Counter[str] = dataclasses.field(default_factory=Counter)
    lambdas: list[str] = dataclasses.field(default_factory=list)


def accesses(lambdas: Iterable[LambdaSpec], tables: Mapping[str, str]) -> dict[str, Access]:
    """How ``lambdas`` look up rows, by the name of the model or source that they read; ``tables`` names the model or
    source of states and landing tables, which their windows read, by the table's name."""
    found: dict[str, Access] = {}
    for spec in lambdas:
        seen = {(model, column, equal) for model, column, equal in _conditions(spec, tables)}
        for model, column, equal in sorted(seen):
            access = found.setdefault(model, Access())
            (access.equal if equal else access.ranged)[column] += 1
            if spec.name not in access.lambdas:
                access.lambdas.append(spec.name)
    return found


def _conditions(spec: LambdaSpec, known: Mapping[str, str]) -> Iterator[tuple[str, str, bool]]:
    """Model, column and whether it is an equality, of every condition that each row of the model must meet."""
    text, names = spec.select, {**known, **{name: name for name in spec.depends_on}}
    if spec.window is not None:
        text = spec.window.select
    for select in sqlglot.parse_one(text, read=CLICKHOUSE).find_all(exp.Select):
        tables = {alias: names[table] for alias, table in _read(select) if table in names}
        where = select.args.get("where")
        for condition in _all_of(where.this) if where is not None else ():
            for column, other in ((condition.left, condition.right), (condition.right, condition.left)):
                if isinstance(column, exp.Column) and column.table in tables and other.find(exp.Placeholder):
                    yield tables[column.table], column.name, isinstance(condition, exp.EQ)


def _read(select: exp.Select) -> Iterator[tuple[str, str]]:
    """The tables that ``select`` itself reads: as what, and their names."""
    for source in relations_of(select):
        table = stored_in(source)
        if table is not None:
            yield source.alias_or_name, table.name


def _all_of(condition: exp.Expr) -> Iterator[exp.Binary]:
    """The comparisons that are joined by AND."""
    found = condition.unnest()
    if isinstance(found, exp.And):
        yield from _all_of(found.left)
        yield from _all_of(found.right)
    elif isinstance(found, (exp.EQ, *_RANGES)):
        yield found
