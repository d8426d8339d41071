"""What the server holds now of a plan's databases: read once, compared by `realtime.deploy.diff`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import database_name
from realtime.clickhouse.moment import EPOCH, server_now
from realtime.deploy.ledger import Ledger
from realtime.errors import ConfigError
from realtime.planner.ir import INDEX_PREFIX, Plan
from realtime.settings import Settings


class Table(msgspec.Struct, frozen=True):
    """A table of ours. ``columns`` maps names to ClickHouse types in their order, hidden ones included; ``engine``
    and ``sorting_key`` are as the server prints them, ``rows`` is its own count; ``indexes`` are those that authors
    asked for."""

    engine: str
    sorting_key: str
    rows: int
    columns: Mapping[str, str]
    indexes: frozenset[str] = frozenset()

    @property
    def is_view(self) -> bool:
        """Whether it only stands for a table that is not published yet (see `realtime.deploy.unpublished`)."""
        return self.engine == "View"


class ReadView(msgspec.Struct, frozen=True):
    """An object in the database of read views, by name what callers select from. ``deployed`` says that a deploy
    made it; ``select`` is its SQL as the server prints it."""

    engine: str
    deployed: bool
    select: str


class Kept(msgspec.Struct, frozen=True):
    """The version before of a model: as it is in ``plan``, kept for a rollback until a moment (UTC)."""

    plan: Plan
    until: datetime


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of one plan's databases, each thing by its relation ``database.name``.

    ``views`` are materialized views; ``complete`` the states that hold every landing row that they should, those in
    ``late`` only the ones from a moment on; ``lambdas`` pairs of name and version; ``staging`` the databases that
    an unfinished deploy left; ``kept`` what can be rolled back to, by model, at the moment ``now``; ``landed`` all
    landing and quarantine tables that a deploy ever made; ``expiring`` the rows that a changed TTL would delete, by
    landing table; ``held`` are the sources whose rows only exports delete; ``note`` says what made ``plan`` the
    active one if no deploy did, ``deployment`` is the id that it was stored under.
    """

    database: str
    plan: Plan | None = None
    deployment: str = ""
    note: str = ""
    landing: Mapping[str, Table] = {}
    landed: frozenset[str] = frozenset()
    expiring: Mapping[str, int] = {}
    held: frozenset[str] = frozenset()
    states: Mapping[str, Table] = {}
    views: frozenset[str] = frozenset()
    complete: frozenset[str] = frozenset()
    late: Mapping[str, datetime] = {}
    read_views: Mapping[str, ReadView] = {}
    lambdas: frozenset[tuple[str, str]] = frozenset()
    staging: tuple[str, ...] = ()
    kept: Mapping[str, Kept] = {}
    now: datetime = EPOCH


def read_live(client: ClickHouse, database: str, wanted: Plan | None = None) -> Live:
    """Reads the server; nothing is changed. A plan that this version can't read counts as none. ``wanted`` is the
    plan that it will be compared with."""
    tables = _tables(client, database)
    in_state = {r: t for r, t in tables.items() if r.startswith(f"{database}_state.")}
    live = Live(
        database=database,
        landing={r: _table(t) for r, t in tables.items() if r.startswith(f"{database}_raw.")},
        states={r: _table(t) for r, t in in_state.items() if t["engine"] != "MaterializedView"},
        views=frozenset(r for r, t in in_state.items() if t["engine"] == "MaterializedView"),
        read_views=_read_views(tables, database, ()),
        staging=_staging(client, database),
        now=server_now(client),
    )
    known = _own_tables(client, database)
    if "deployments" not in known:
        return live
    ledger = Ledger(client, database)
    plan, deployment, note = _newest(client, database, known)
    return msgspec.structs.replace(
        live,
        plan=plan,
        deployment=deployment,
        note=note,
        landed=ledger.deployed("sources", "landing") | ledger.deployed("sources", "quarantine"),
        expiring=_expiring(client, plan, wanted, live.landing),
        held=frozenset(ledger.lakes()) if "lakes" in known else frozenset(),
        complete=ledger.complete(),
        late=ledger.late(),
        read_views=_read_views(tables, database, ledger.deployed("steps", "relation")),
        lambdas=ledger.lambdas(),
        kept=_kept(ledger) if "kept" in known else {},
    )


def active_plan(client: ClickHouse, database: str) -> Plan | None:
    """The plan of the newest finished deploy to ``database``; None before the first one.

    ConfigError where it was written by a version of Duet whose plans this one can't read.
    """
    if "deployments" not in _own_tables(client, database):
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


def _newest(client: ClickHouse, database: str, known: frozenset[str]) -> tuple[Plan | None, str, str]:
    """The active plan, None where this version can't read it, its id and its note."""
    try:
        plan = active_plan(client, database)
    except ConfigError:
        return None, "", ""
    if plan is None:
        return None, "", ""
    note = "note" if "kept" in known else "''"
    (row,) = client.rows(
        f"SELECT id, {note} AS note FROM `{database}_duet`.deployments ORDER BY at DESC, id DESC LIMIT 1"
    )
    return plan, row["id"], row["note"]


def _kept(ledger: Ledger) -> dict[str, Kept]:
    entries = ledger.kept()
    plans = ledger.plans(deployment for deployment, _ in entries.values())
    return {
        model: Kept(plans[deployment], until) for model, (deployment, until) in entries.items() if deployment in plans
    }


def _expiring(
    client: ClickHouse, plan: Plan | None, wanted: Plan | None, landing: Mapping[str, Table]
) -> dict[str, int]:
    """How many rows a TTL of ``wanted`` that differs from that of ``plan`` would delete, by landing table."""
    before = {s.landing: s.ttl for s in plan.sources} if plan is not None else {}
    changed = {
        s.landing: s.ttl
        for s in (wanted.sources if wanted is not None else ())
        if s.ttl and s.landing in landing and before.get(s.landing, s.ttl) != s.ttl
    }
    return {
        name: int(client.value(f"SELECT count() FROM {client.endpoint.of_shards(name)} WHERE ({ttl}) <= now()"))
        for name, ttl in changed.items()
    }


def _own_tables(client: ClickHouse, database: str) -> frozenset[str]:
    """Names of Duet's own tables; none while the first deploy is still making them: ``chunks`` is the last."""
    sql = "SELECT name FROM system.tables WHERE database = {database:String}"
    names = frozenset(row["name"] for row in client.rows(sql, {"database": f"{database}_duet"}))
    return names if "chunks" in names else frozenset()


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
        "SELECT concat(t.database, '.', t.name) AS relation, any(t.engine) AS engine, "
        "any(t.sorting_key) AS sorting_key, sum(ifNull(t.total_rows, 0)) AS rows, any(t.as_select) AS as_select "
        f"FROM {client.endpoint.of_shards('system.tables')} AS t WHERE t.database IN {{databases:Array(String)}} "
        # What a refreshable view is writing at this moment is no table of ours yet; those over all shards hold no rows.
        "AND t.name NOT LIKE '.tmp.inner_id.%' AND t.engine != 'Distributed' GROUP BY relation",
        databases,
    )
    indexes: dict[str, set[str]] = {}
    for row in client.rows(
        "SELECT concat(database, '.', table) AS relation, name FROM system.data_skipping_indices "
        f"WHERE database IN {{databases:Array(String)}} AND startsWith(name, '{INDEX_PREFIX}')",
        databases,
    ):
        indexes.setdefault(row["relation"], set()).add(row["name"])
    return {
        t["relation"]: {**t, "columns": columns.get(t["relation"], {}), "indexes": indexes.get(t["relation"], set())}
        for t in tables
    }


def _table(row: Mapping[str, Any]) -> Table:
    return Table(
        engine=row["engine"].removeprefix("Replicated"),
        sorting_key=row["sorting_key"],
        rows=int(row["rows"]),
        columns=row["columns"],
        indexes=frozenset(row["indexes"]),
    )


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
