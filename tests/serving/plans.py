"""Plans written straight to where `duet deploy` keeps them."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.planner.call_options import PageSizes
from realtime.planner.ir import Column, LambdaSpec, Paging, Param, Plan, SourceSpec
from realtime.planner.paging import page_params
from realtime.transpile.types import duck_type


def param(name: str, kind: str, **fields: Any) -> Param:
    """A parameter of DuckDB type ``kind``."""
    return Param(name=name, type=kind, clickhouse=duck_type(kind).clickhouse, **fields)


def spec(
    name: str, select: str, params: Sequence[Param] = (), columns: Sequence[tuple[str, str]] = (), **fields: Any
) -> LambdaSpec:
    """A lambda whose version is the hash of ``select``; ``columns`` are names and DuckDB types."""
    return LambdaSpec(
        name=name,
        version=hashlib.sha256(select.encode()).hexdigest()[:12],
        select=select,
        batch=fields.pop("batch", ""),
        params=tuple(params),
        columns=tuple(Column(n, t, duck_type(t).clickhouse) for n, t in columns),
        **fields,
    )


def paged(name: str, size: int) -> LambdaSpec:
    """A lambda of the numbers below ``count``, in pages."""
    numbers = "SELECT number AS n, concat('~.', hex(toString(number))) AS __duet_place FROM numbers({count:UInt64})"
    end = " ORDER BY n LIMIT {__duet_rows:UInt64}"
    after = f"{numbers} WHERE number > {{__duet_after_1:UInt64}}{end}"
    params = (param("count", "BIGINT"), *page_params(PageSizes(size, 10)))
    paging = Paging(size=size, most=10, keys=("UBIGINT",), after=after, order="n")
    return spec(name, numbers + end, params, [("n", "UBIGINT")], paging=paging)


def plan(database: str, lambdas: Sequence[LambdaSpec], sources: Sequence[SourceSpec] = ()) -> Plan:
    """A plan of lambdas alone."""
    return Plan(project="shown", database=database, sources=tuple(sources), steps=(), lambdas=tuple(lambdas))


def deploy(clickhouse: ClickHouse, active: Plan) -> None:
    """Makes ``active`` the plan that servers serve, as the last step of `duet deploy` does."""
    kept = f"{active.database}_duet"
    clickhouse.execute(f"CREATE DATABASE IF NOT EXISTS {kept}")
    clickhouse.execute(
        f"CREATE TABLE IF NOT EXISTS {kept}.lambdas (name String, version String, at DateTime64(6, 'UTC'), spec String)"
        " ENGINE = ReplacingMergeTree(at) ORDER BY (name, version)"
    )
    clickhouse.execute(
        f"CREATE TABLE IF NOT EXISTS {kept}.deployments (id String, at DateTime64(6, 'UTC'), plan String)"
        " ENGINE = MergeTree ORDER BY at"
    )
    clickhouse.execute(
        f"CREATE TABLE IF NOT EXISTS {kept}.states (relation String, cutover Int64, phase String,"
        " at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')) ENGINE = ReplacingMergeTree(at) ORDER BY relation"
    )
    now = dt.datetime.now(dt.UTC)
    if active.lambdas:
        rows = [[s.name, s.version, now, msgspec.json.encode(s).decode()] for s in active.lambdas]
        clickhouse.insert(f"{kept}.lambdas", ["name", "version", "at", "spec"], rows)
    clickhouse.insert(
        f"{kept}.deployments", ["id", "at", "plan"], [[uuid.uuid4().hex, now, msgspec.json.encode(active).decode()]]
    )
