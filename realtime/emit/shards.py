"""What a cluster adds to a table: a replicated engine, and a table over all shards.

Databases of a cluster are `Replicated` ones: what a statement makes, alters or drops in one of them is made, altered
and dropped on every server, also on one that was away meanwhile. So only databases are named with ``ON CLUSTER``.
"""

from __future__ import annotations

from realtime.emit.names import literal, quoted
from realtime.planner.ir import ALL, Shards

_WINDOW = 10_000
"""How many inserts' tokens a table knows."""
_WINDOW_SECONDS = 30 * 86_400


def on_cluster(cluster: str) -> str:
    """The clause, with a space before it; nothing without a cluster."""
    return f" ON CLUSTER {quoted(cluster)}" if cluster else ""


def create_database(name: str, cluster: str, *, everywhere: bool = False) -> str:
    """The database; on a cluster, tables in it hold the rows of their shard, or with ``everywhere`` every server holds
    all rows. Names of servers are those of the macros ``shard`` and ``replica``."""
    made = f"CREATE DATABASE IF NOT EXISTS {quoted(name)}"
    if not cluster:
        return made
    # The names given here are what the paths of its tables in Keeper are made of.
    names = "'all', '{shard}_{replica}'" if everywhere else "'{shard}', '{replica}'"
    return f"{made}{on_cluster(cluster)} ENGINE = Replicated({literal(f'/clickhouse/databases/{name}')}, {names})"


def drop_database(name: str, cluster: str) -> str:
    """The statement that drops a database with all that is in it."""
    return f"DROP DATABASE IF EXISTS {quoted(name)}{on_cluster(cluster)} SYNC"


def engine_on(engine: str, *, replicated: bool) -> str:
    """The table engine ``engine``; one that is no MergeTree stays as it is.

    >>> engine_on("ReplacingMergeTree(version)", replicated=True)
    'ReplicatedReplacingMergeTree(version)'
    """
    return f"Replicated{engine}" if replicated and "MergeTree" in engine else engine


def window(*, replicated: bool) -> str:
    """The settings of a table by which an insert that comes again is known by its token."""
    if replicated:
        return (
            f"replicated_deduplication_window = {_WINDOW}, replicated_deduplication_window_seconds = {_WINDOW_SECONDS}"
        )
    return f"non_replicated_deduplication_window = {_WINDOW}"


def create_whole(relation: str, shards: Shards) -> str:
    """The table over all shards of ``relation``, a table that is there. Rows that are inserted into it are stored on
    the shard that ``shards`` names."""
    return f"CREATE TABLE IF NOT EXISTS {relation}{ALL} AS {relation}\nENGINE = {_distributed(relation, shards)}"


def remake_whole(relation: str, shards: Shards) -> str:
    """The same in place of one whose columns are other ones: it holds no rows itself."""
    return f"CREATE OR REPLACE TABLE {relation}{ALL} AS {relation}\nENGINE = {_distributed(relation, shards)}"


def _distributed(relation: str, shards: Shards) -> str:
    database, _, name = relation.partition(".")
    # A tuple's hash is never NULL.
    by = f"cityHash64(tuple({', '.join(map(quoted, shards.by))}))" if shards.by else "0"
    return f"Distributed({literal(shards.cluster)}, {literal(database)}, {literal(name)}, {by})"
