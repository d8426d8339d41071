"""The HTTP application: routes and middleware as lists, what they use opened in `lifespan`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware

from realtime.clickhouse.endpoint import find_endpoint
from realtime.compile import database_name
from realtime.server.access import Access
from realtime.server.errors import HANDLERS
from realtime.server.metrics import Metrics
from realtime.server.routes import docs, health, lambdas
from realtime.serving.limits import Limits
from realtime.serving.registry import Registry
from realtime.serving.upstream import Upstream
from realtime.settings import Settings


def create_app(settings: Settings, limits: Limits | None = None) -> Starlette:
    """The application of the project of ``settings``; a route finds what it uses in ``request.state``:
    ``registry``, ``upstream``, ``metrics``, ``settings``.

    UnavailableError where the local ClickHouse is meant and is not up; one that is merely not reached is waited for.
    """
    endpoint, database = find_endpoint(settings), database_name(settings)
    metrics = Metrics()

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        upstream = Upstream(endpoint, limits or Limits())
        registry = Registry(upstream, database)
        metrics.watch(upstream, registry)
        await registry.refresh()
        polling = asyncio.create_task(registry.poll())
        try:
            yield {"registry": registry, "upstream": upstream, "metrics": metrics, "settings": settings}
        finally:
            polling.cancel()
            await upstream.close()

    return Starlette(
        routes=[*lambdas.routes, *docs.routes, *health.routes],
        middleware=[Middleware(Access, metrics=metrics)],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )
