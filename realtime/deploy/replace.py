"""A table put in the place of another at once: readers see the rows of one or of the other."""

from __future__ import annotations

from realtime.clickhouse.client import ClickHouse
from realtime.emit.names import quoted
from realtime.planner.ir import ALL

NEXT = "__next"
"""Ends the name of a table that is being filled, to be put in the place of the one without this ending."""


def drop_table(client: ClickHouse, relation: str) -> None:
    """Drops a table of ours, and on a cluster the one over all shards before it."""
    for name in (relation + ALL, relation) if client.cluster else (relation,):
        client.execute(f"DROP TABLE IF EXISTS {_quoted(name)} SYNC")


def put_in_place(client: ClickHouse, relation: str) -> None:
    """Makes the table ``<relation>__next`` the table ``relation``; what was there before goes."""
    database, name = relation.split(".")
    there = "SELECT count() FROM system.tables WHERE database = {database:String} AND name = {name:String}"
    if client.value(there, {"database": database, "name": name}):
        client.execute(f"EXCHANGE TABLES {relation}{NEXT} AND {relation}")
        client.execute(f"DROP TABLE IF EXISTS {relation}{NEXT}")
    else:
        client.execute(f"RENAME TABLE {relation}{NEXT} TO {relation}")


def _quoted(relation: str) -> str:
    return ".".join(quoted(part) for part in relation.split("."))
