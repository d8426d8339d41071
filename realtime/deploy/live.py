"""What the server holds now of a plan's databases: read once, compared by `realtime.deploy.diff`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import database_name
from realtime.deploy.ledger import Ledger
from realtime.errors import ConfigError
from realtime.planner.ir import Plan
from realtime.settings import Settings


class Table(msgspec.Struct, frozen=True):
    """A table of ours. ``columns`` maps names to ClickHouse types in their order, hidden ones included; ``engine``
    and ``sorting_key`` are as the server prints them, ``rows`` is its own count."""

    engine: str
    sorting_key: str
    rows: int
    columns: Mapping[str, str]


class ReadView(msgspec.Struct, frozen=True):
    """An object in the database of read views, by name what callers select from. ``deployed`` says that a deploy
    made it; ``select`` is its SQL as the server prints it."""

    engine: str
    deployed: bool
    select: str


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of one plan's databases, each thing by its relation ``database.name``.

    ``views`` are materialized views; ``complete`` the states that hold every landing row; ``lambdas`` pairs of
    name and version; ``staging`` the databases that an unfinished deploy left.
    """

    database: str
    plan: Plan | None = None
    landing: Mapping[str, Table] = {}
    states: Mapping[str, Table] = {}
    views: frozenset[str] = frozenset()
    complete: frozenset[str] = frozenset()
    read_views: Mapping[str, ReadView] = {}
    lambdas: frozenset[tuple[str, str]] = frozenset()
    staging: tuple[str, ...] = ()


def read_live(client: ClickHouse, database: str) -> Live:
    """Reads the server; nothing is changed. A plan that this version can't read counts as none."""
    ledger = Ledger(client, database)
    known = _has_ledger(client, database)
    tables = _tables(client, database)
    in_state = {r: t for r, t in tables.items() if r.startswith(f"{database}_state.")}
    return Live(
        database=database,
        plan=_readable_plan(client, database),
        landing={r: _table(t) for r, t in tables.items() if r.startswith(f"{database}_raw.")},
        states={r: _table(t) for r, t in in_state.items() if t["engine"] != "MaterializedView"},
        views=frozenset(r for r, t in in_state.items() if t["engine"] == "MaterializedView"),
        complete=ledger.complete() if known else frozenset(),
        read_views=_read_views(tables, database, ledger.deployed_views() if known else frozenset()),
        lambdas=ledger.lambdas() if known else frozenset(),
        staging=_staging(client, database),
    )


def active_plan(client: ClickHouse, database: str) -> Plan | None:
    """The plan of the newest finished deploy to ``database``; None before the first one.

    ConfigError where it was written by a version of Duet whose plans this one can't read.
    """
    if not _has_ledger(client, database):
        return None
    text = client.value(f"SELECT plan FROM `{database}_duet`.deployments ORDER BY at DESC, id DESC LIMIT 1")
    try:
        return None if text is None else msgspec.json.decode(text, type=Plan)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"the plan deployed to {database} can't be read: {error}", remedy="deploy with this version: duet deploy"
        ) from None


def deployed_plan(settings: Settings, client: ClickHouse) -> Plan:
    """The active plan of the project in ``settings``; ConfigError where nothing is deployed yet."""

    database = database_name(settings)
    plan = active_plan(client, database)
    if plan is None:
        raise ConfigError(f"nothing is deployed to {database} at {client.endpoint.url}", remedy="run: duet deploy")
    return plan


def _readable_plan(client: ClickHouse, database: str) -> Plan | None:
    try:
        return active_plan(client, database)
    except ConfigError:
        return None


def _has_ledger(client: ClickHouse, database: str) -> bool:
    """Whether all of Duet's own tables are there: the last to be made is."""
    sql = "SELECT count() FROM system.tables WHERE database = {database:String} AND name = 'chunks'"
    return bool(client.value(sql, {"database": f"{database}_duet"}))


def _tables(client: ClickHouse, database: str) -> dict[str, dict[str, Any]]:
    """Rows of ``system.tables`` with their columns, by relation."""
    databases = {"databases": [database, f"{database}_raw", f"{database}_state"]}
    columns: dict[str, dict[str, str]] = {}
    for row in client.rows(
        "SELECT concat(database, '.', table) AS relation, name, type FROM system.columns "
        "WHERE database IN {databases:Array(String)} ORDER BY database, table, position",
        databases,
    ):
        columns.setdefault(row["relation"], {})[row["name"]] = row["type"]
    tables = client.rows(
        "SELECT concat(database, '.', name) AS relation, engine, sorting_key, ifNull(total_rows, 0) AS rows, as_select "
        "FROM system.tables WHERE database IN {databases:Array(String)} "
        # What a refreshable view is writing at this moment is no table of ours yet.
        "AND name NOT LIKE '.tmp.inner_id.%'",
        databases,
    )
    return {t["relation"]: {**t, "columns": columns.get(t["relation"], {})} for t in tables}


def _table(row: Mapping[str, Any]) -> Table:
    return Table(engine=row["engine"], sorting_key=row["sorting_key"], rows=int(row["rows"]), columns=row["columns"])


def _read_views(tables: Mapping[str, Mapping[str, Any]], database: str, deployed: Iterable[str]) -> dict[str, ReadView]:
    made = frozenset(deployed)
    return {
        relation: ReadView(engine=row["engine"], deployed=relation in made, select=row["as_select"])
        for relation, row in tables.items()
        if relation.startswith(f"{database}.")
    }


def _staging(client: ClickHouse, database: str) -> tuple[str, ...]:
    """Databases named as `realtime.deploy.promote.staging_database` names them."""
    names = [r["name"] for r in client.rows("SELECT name FROM system.databases ORDER BY name")]
    return tuple(n for n in names if re.fullmatch(re.escape(database) + r"_staging_[0-9a-f]{12}", n))
