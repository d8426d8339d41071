"""What a server knows of what is deployed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import NotFoundError
from realtime.planner.ir import Plan
from realtime.serving.limits import Limits
from realtime.serving.registry import Registry
from realtime.serving.upstream import Upstream
from tests.serving.plans import deploy, param, plan, spec

OLD, NEW = spec("a", "SELECT 1 AS n"), spec("a", "SELECT 2 AS n")
OTHER = spec("b", "SELECT 3 AS n")


class Told:
    """Keeps the plans that it is told of."""

    def __init__(self) -> None:
        self.plans: list[Plan | None] = []

    async def __call__(self, active: Plan | None) -> None:
        self.plans.append(active)


def _with(endpoint: Endpoint, database: str, work: Callable[[Registry, Told], Awaitable[None]]) -> None:
    async def run() -> None:
        upstream, told = Upstream(endpoint, Limits()), Told()
        try:
            await work(Registry(upstream, database, told), told)
        finally:
            await upstream.close()

    asyncio.run(run())


def test_follows_deploys(endpoint: Endpoint, clickhouse: ClickHouse, database: str) -> None:
    first, second = plan(database, [OLD, OTHER]), plan(database, [NEW])

    async def work(registry: Registry, told: Told) -> None:
        await registry.refresh()
        assert (registry.problem, registry.catalog.plan, told.plans) == ("", None, [])
        deploy(clickhouse, first)
        await registry.refresh()
        assert registry.catalog.find("a").spec == OLD
        kept = registry.catalog
        await registry.refresh()
        assert registry.catalog is kept
        deploy(clickhouse, second)
        await registry.refresh()
        assert registry.catalog.find("a").spec == NEW
        assert registry.catalog.find("a", OLD.version) is kept.find("a")
        assert list(registry.catalog.versions["a"]) == [OLD.version, NEW.version]
        assert told.plans == [first, second]
        with pytest.raises(NotFoundError, match="lambda b is not deployed any more"):
            registry.catalog.find("b")
        assert registry.catalog.find("b", OTHER.version).spec == OTHER
        clickhouse.execute(f"DROP DATABASE {database}_duet SYNC")
        await registry.refresh()
        assert (registry.catalog.latest, told.plans[2:]) == ({}, [None])

    _with(endpoint, database, work)


def test_one_bad_lambda_leaves_the_others(endpoint: Endpoint, clickhouse: ClickHouse, database: str) -> None:
    bad = spec("bad", "SELECT 1", [param("x", "INTEGER", default="no number")])

    async def work(registry: Registry, told: Told) -> None:
        deploy(clickhouse, plan(database, [bad, OTHER]))
        clickhouse.execute(
            f"INSERT INTO {database}_duet.lambdas VALUES ('c', '1', now64(6), '{{\"of\": \"the future\"}}')"
        )
        await registry.refresh()
        assert set(registry.catalog.latest) == {"b"}
        assert registry.problem == ""

    _with(endpoint, database, work)


def test_a_plan_that_can_not_be_read_changes_nothing(endpoint: Endpoint, clickhouse: ClickHouse, database: str) -> None:
    async def work(registry: Registry, told: Told) -> None:
        deploy(clickhouse, plan(database, [OTHER]))
        await registry.refresh()
        clickhouse.execute(f"INSERT INTO {database}_duet.deployments VALUES ('x', now64(6) + 1, '{{}}')")
        await registry.refresh()
        assert set(registry.catalog.latest) == {"b"}
        assert registry.problem == "what is deployed can't be read"

    _with(endpoint, database, work)
