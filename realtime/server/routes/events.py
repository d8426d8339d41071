"""``POST``, ``PATCH`` and ``DELETE /v1/events/{source}``: rows in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from realtime.errors import BadRequestError
from realtime.ingest.bodies import too_large
from realtime.ingest.intake import Intake
from realtime.server.exchange import exchange

_encoder = msgspec.json.Encoder()


class TakeRows:
    """Answers ``{"successful_rows":n,"quarantined_rows":m}`` with 200 once each row is on disk, in the landing table
    or in quarantine: also where all are in quarantine, since none is lost. What can't be read at all is 400.

    Bare ASGI: where a request is one row, Starlette's objects for it would be a quarter of what it takes.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        intake: Intake = scope["app"].state.intake
        source, method = scope["path_params"]["source"], scope["method"]
        intake.check(source, method)
        headers = dict(reversed(scope["headers"]))  # the first of equal ones

        def header(name: bytes) -> str:
            value: bytes = headers.get(name, b"")
            return value.decode("latin-1")

        if _length(header(b"content-length") or "0") > intake.limits.body:
            raise too_large(intake.limits.body)
        span = exchange(scope).asked.span
        try:
            with intake.room.share() as share:
                body = await intake.read(_chunks(receive), share)
                if span is not None:
                    span.set_attributes({"duet.source": source, "http.request.body.size": len(body)})
                taken = await intake.take(
                    source,
                    body,
                    content_type=header(b"content-type"),
                    encoding=header(b"content-encoding"),
                    idempotency_key=header(b"idempotency-key"),
                    request_id=exchange(scope).request_id,
                    method=method,
                    share=share,
                    span=span,
                )
        except _LeftError:
            return
        if span is not None:
            counts = {"duet.rows": taken.successful_rows, "duet.rows.quarantined": taken.quarantined_rows}
            span.set_attributes(counts)
        content = _encoder.encode(taken)
        known = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": known})
        await send({"type": "http.response.body", "body": content})


class _LeftError(Exception):
    """The caller left before the end of its body."""


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _LeftError
        more = message.get("more_body", False)
        yield message.get("body", b"")


def _length(given: str) -> int:
    try:
        return int(given)
    except ValueError:
        raise BadRequestError(f"Content-Length {given!r} is not a number") from None


# Each source says which of them it takes.
_METHODS = ["POST", "PATCH", "DELETE", "GET", "PUT", "OPTIONS", "TRACE"]
routes: list[Route] = [Route("/v1/events/{source}", TakeRows(), methods=_METHODS)]
