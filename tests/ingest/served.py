"""The events route on a real server."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware

from realtime.clickhouse.endpoint import Endpoint
from realtime.ingest.intake import Intake, Limits
from realtime.planner.ir import Plan
from realtime.server.access import Access
from realtime.server.errors import HANDLERS
from realtime.server.metrics import Metrics
from realtime.server.routes import events


@contextlib.contextmanager
def served(endpoint: Endpoint, plan: Plan, limits: Limits) -> Iterator[str]:
    """Its address; it runs in a thread until the end of the block."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.intake = Intake(endpoint, plan, limits=limits)
        yield
        await app.state.intake.close()

    access = Middleware(Access, metrics=Metrics())
    app = Starlette(routes=events.routes, lifespan=lifespan, middleware=[access], exception_handlers=HANDLERS)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
