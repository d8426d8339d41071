"""Around every request: its id, span, line in the log and metrics, and the error body where all else failed."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from realtime.server.errors import unexpected
from realtime.server.exchange import Exchange, begin
from realtime.server.logs import write_access
from realtime.server.metrics import Metrics
from realtime.serving.traces import Traces

_STATUS, _BODY = "http.response.start", "http.response.body"


class Access:
    """The outermost middleware. Plain ASGI: it is on the way of every lambda call."""

    def __init__(self, app: ASGIApp, metrics: Metrics, traces: Traces | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        here = begin(scope)
        if self._traces is not None:
            here.asked.span = self._traces.begin(scope["method"], scope["path"], scope["headers"])
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == _STATUS:
                started = True
                here.status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", here.request_id.encode())]
            elif message["type"] == _BODY:
                here.bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            if started:
                raise
            await unexpected(here)(scope, receive, sending)
        finally:
            self._done(scope, here)

    def _done(self, scope: Scope, here: Exchange) -> None:
        seconds = time.perf_counter() - here.started
        endpoint = scope.get("endpoint")
        route = getattr(endpoint, "__name__", None) or type(endpoint).__name__ if endpoint else "none"
        self._metrics.observe(route, here, seconds)
        fields = {
            "request_id": here.request_id,
            "method": scope["method"],
            "path": scope["path"],
            "status": here.status,
            "ms": round(seconds * 1000, 2),
            "bytes": here.bytes,
            "client": (scope.get("client") or [""])[0],
        }
        if here.lambda_name:
            fields |= {"lambda": here.lambda_name, "version": here.version}
            if here.asked.batch:
                fields["batch"] = here.asked.batch
            if here.asked.rows is not None:
                fields["rows"] = here.asked.rows
            ms = seconds * 1000
            scope["state"]["recorder"].count(here.lambda_name, here.version, here.tag, here.status, ms)
        if here.caller:
            fields["token"] = here.caller
        if here.error:
            fields["error"] = here.error
        if self._traces is not None:
            if trace_id := here.asked.trace_id:
                fields["trace_id"] = trace_id
            known = {"duet.lambda": here.lambda_name, "duet.version": here.version, "duet.request_id": here.request_id}
            self._traces.end(here.asked, here.status, here.lambda_name, known)
        write_access(fields)
