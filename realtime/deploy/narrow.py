"""A view's select, narrowed to the rows that came in a span of time: one side of a cut-over, or a chunk of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlglot import exp

from realtime.clickhouse.moment import micros
from realtime.emit.landing import HIDDEN, INGESTED_AT
from realtime.emit.readable import parsed, readable
from realtime.errors import ConfigError
from realtime.planner.ir import View
from realtime.transpile.form import column, form


def narrowed(
    view: View,
    since: datetime | None = None,
    until: datetime | None = None,
    types: Mapping[str, str] | None = None,
    table: str = "",
    within: str = "",
) -> str:
    """The select of ``view`` over landing rows from ``since`` (included) until ``until`` (not), both in UTC; over
    ``table`` in place of the landing table, those ``within`` a condition on its columns, and with every column in its
    type in ``types``, where these are given.

    The condition stands where the landing table is read, so whatever the view does to a row comes after it.
    ConfigError where the select is not printed as this version prints it: then it can't be changed safely.
    """
    tree = _parsed(view)
    database, name = view.landing.split(".")
    tables = [t for t in tree.find_all(exp.Table) if (t.db, t.name) == (database, name)]
    if not tables:
        raise _other_version(view)
    for reference in tables:
        select = reference.find_ancestor(exp.Select)
        assert select is not None
        for condition in _conditions(reference.alias_or_name, since, until, within):
            select.where(condition, copy=False)
        if types:
            reference.replace(_typed(reference, types))
        if table:
            reference.set("db", exp.to_identifier(table.split(".")[0]))
            reference.set("this", exp.to_identifier(table.split(".")[1]))
    return readable(tree)


def selected(view: View) -> tuple[str, ...]:
    """The columns that the view's select gives, in its order."""
    return tuple(_parsed(view).named_selects)


def _typed(landing: exp.Table, types: Mapping[str, str]) -> exp.Subquery:
    """``landing`` with its columns in ``types``: what does not fit one becomes its default instead of an error."""
    casts = [
        exp.alias_(
            exp.Anonymous(
                this="accurateCastOrDefault", expressions=[exp.column(name, quoted=True), exp.Literal.string(kind)]
            ),
            name,
            quoted=True,
        )
        for name, kind in types.items()
        if name not in HIDDEN
    ]
    bare = exp.table_(landing.name, db=landing.db)
    return exp.select(exp.Star(replace=casts)).from_(bare).subquery(landing.alias_or_name, copy=False)


def _conditions(alias: str, since: datetime | None, until: datetime | None, within: str) -> list[exp.Expr]:
    ingested = column(INGESTED_AT, alias)
    found = []
    if since is not None:
        found.append(form("x >= fromUnixTimestamp64Micro(moment, 'UTC')", x=ingested, moment=micros(since)))
    if until is not None:
        found.append(form("x < fromUnixTimestamp64Micro(moment, 'UTC')", x=ingested, moment=micros(until)))
    if within:
        condition = form(within)
        for name in list(condition.find_all(exp.Column)):
            name.replace(column(name.name, alias))
        found.append(condition)
    return found


def _parsed(view: View) -> exp.Query:
    tree = parsed(view.select)
    if tree is None:
        raise _other_version(view)
    return tree


def _other_version(view: View) -> ConfigError:
    return ConfigError(
        f"the select of {view.name} is not written as this version of Duet writes it, so no cut-over can be added",
        remedy="compile again with this version: duet compile",
    )
