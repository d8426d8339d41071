"""Whether the server lives, whether it can answer, and its metrics."""

from __future__ import annotations

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from realtime.server.errors import answer
from realtime.server.exchange import exchange
from realtime.serving.registry import Registry


async def healthz(request: Request) -> Response:
    """The process lives."""
    return Response(b'{"status":"ok"}', media_type="application/json")


async def readyz(request: Request) -> Response:
    """ClickHouse answers and something is deployed; else 503 with the reason."""
    registry: Registry = request.state.registry
    catalog = registry.catalog
    problem = registry.problem or ("" if catalog.plan else "nothing is deployed yet")
    if problem:
        remedy = "run `duet deploy`" if not registry.problem else "see `duet status`"
        known = {"lambdas": len(catalog.latest), "remedy": remedy}
        return answer(exchange(request.scope), 503, "not_ready", problem, known)
    body = {
        "status": "ready",
        "plan": registry.plan_id,
        "lambdas": len(catalog.latest),
        "sources": len(catalog.plan.sources) if catalog.plan else 0,
    }
    return Response(msgspec.json.encode(body), media_type="application/json")


async def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    return Response(request.state.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})


routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
