"""What the server holds now of a plan's databases: read once, compared by `realtime.deploy.diff`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.errors import ConfigError
from realtime.planner.ir import Plan


class Table(msgspec.Struct, frozen=True):
    """A table of ours. ``columns`` maps names to ClickHouse types in order (hidden ones included); ``engine`` and
    ``sorting_key`` are as the server prints them, ``rows`` its own count (0 for views)."""

    relation: str
    engine: str
    sorting_key: str
    rows: int
    columns: Mapping[str, str]


class ReadView(msgspec.Struct, frozen=True):
    """An object in the database of read views. ``deployed`` says that a deploy made it; ``reads`` is its SQL."""

    relation: str
    engine: str
    deployed: bool
    reads: str


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of one plan's databases. ``complete`` are the state tables whose views and backfill are whole;
    ``staging`` the databases that an unfinished deploy left."""

    database: str
    plan: Plan | None
    databases: frozenset[str]
    landing: Mapping[str, Table]
    states: Mapping[str, Table]
    views: frozenset[str]
    complete: frozenset[str]
    read_views: Mapping[str, ReadView]
    lambdas: frozenset[tuple[str, str]]
    staging: tuple[str, ...]


def active_plan(client: ClickHouse, database: str) -> Plan | None:
    """The plan of the newest finished deploy to ``database``; None before the first one.

    ConfigError where it was written by a version of Duet whose plans this one can't read.
    """
    if not _exists(client, f"{database}_duet", "deployments"):
        return None
    text = client.value(f"SELECT plan FROM `{database}_duet`.deployments ORDER BY at DESC, id DESC LIMIT 1")
    try:
        return None if text is None else msgspec.json.decode(text, type=Plan)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"the plan deployed to {database} can't be read: {error}", remedy="deploy with this version: duet deploy"
        ) from None


def _exists(client: ClickHouse, database: str, name: str) -> bool:
    found = client.value(
        "SELECT count() FROM system.tables WHERE database = {database:String} AND name = {name:String}",
        {"database": database, "name": name},
    )
    return bool(found)
