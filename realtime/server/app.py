"""The HTTP application: routes and middleware as lists, what they use opened in `lifespan`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware

from realtime.clickhouse.endpoint import database_name, find_endpoint
from realtime.clickhouse.reader import find_reader
from realtime.ingest.intake import Intake
from realtime.ingest.intake import Limits as IntakeLimits
from realtime.planner.ir import Plan
from realtime.server import tools
from realtime.server.access import Access
from realtime.server.errors import HANDLERS
from realtime.server.guard import Guard
from realtime.server.metrics import Metrics
from realtime.server.observed import Observed
from realtime.server.routes import console, docs, events, health, lambdas
from realtime.serving.calls import Calls
from realtime.serving.limits import Limits
from realtime.serving.recorder import Recorder
from realtime.serving.registry import Registry
from realtime.serving.results import Results
from realtime.serving.signed import Signed
from realtime.serving.traces import find_traces
from realtime.serving.upstream import Upstream
from realtime.settings import Settings


def create_app(settings: Settings, limits: Limits | None = None, *, public: bool = False) -> Starlette:
    """The application of the project of ``settings``.

    A route finds ``registry``, ``calls`` and ``metrics`` in ``request.state``, ``intake`` in ``app.state``.

    ``public`` says that it can be reached from other machines.

    UnavailableError where the local ClickHouse is meant and is not up; one that is merely not reached is waited for.
    ConfigError where traces are asked for and can't be sent.
    """
    endpoint = find_endpoint(settings)
    metrics, traces = Metrics(), find_traces(settings, endpoint)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        upstream = Upstream(endpoint, limits or Limits(), find_reader(settings))
        app.state.intake = Intake(
            endpoint,
            limits=IntakeLimits.of(settings),
            turn=upstream.admission.ahead,
            traced=traces.inserts if traces else None,
        )
        try:
            async with _serving(settings, upstream, Calls(upstream, traces), app.state.intake, metrics) as state:
                yield state
        finally:
            await app.state.intake.close()
            await upstream.close()
            if traces is not None:
                await asyncio.to_thread(traces.close)

    return Starlette(
        routes=[*lambdas.routes, *events.routes, *docs.routes, *console.routes, *health.routes, *tools.routes],
        middleware=[
            Middleware(Access, metrics=metrics, traces=traces),
            Middleware(Guard, origins=_origins(settings), signed=Signed(settings), public=public),
        ],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )


@contextlib.asynccontextmanager
async def _serving(
    settings: Settings, upstream: Upstream, calls: Calls, intake: Intake, metrics: Metrics
) -> AsyncIterator[dict[str, Any]]:
    """Keeps up with what is deployed, and records calls; yields what routes find in ``request.state``."""
    database = database_name(settings)
    results = Results(calls, settings.number("DUET_CACHE_MB") << 20)

    async def changed(plan: Plan | None) -> None:
        results.clear()
        await intake.update(plan)

    registry = Registry(upstream, database, changed)
    metrics.watch(upstream, calls, registry)
    metrics.watch_results(results)
    metrics.watch_topics(intake.topics)
    await registry.refresh()
    recorder = Recorder(upstream, database, settings.number("DUET_SAMPLE_CALLS"))
    tasks = [asyncio.create_task(work) for work in (registry.poll(), recorder.run())]
    manager = tools.session_manager()
    try:
        async with manager.run():
            yield {
                "registry": registry,
                "calls": calls,
                "results": results,
                "recorder": recorder,
                "observed": Observed(upstream, database),
                "tools": manager,
                "intake": intake,
                "metrics": metrics,
                "settings": settings,
            }
    finally:
        for task in tasks:
            task.cancel()
        await recorder.flush()


def _origins(settings: Settings) -> frozenset[str]:
    return frozenset(settings.text("DUET_CORS_ORIGINS").replace(",", " ").split())
