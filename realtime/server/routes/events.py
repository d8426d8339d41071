"""``POST``, ``PATCH`` and ``DELETE /v1/events/{source}``: rows in."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from realtime.errors import BadRequestError
from realtime.ingest.bodies import too_large
from realtime.ingest.intake import Intake
from realtime.server.exchange import exchange

_encoder = msgspec.json.Encoder()


async def events(request: Request) -> Response:
    """Answers ``{"successful_rows":n,"quarantined_rows":m}`` with 200 once each row is on disk, in the landing table
    or in quarantine: also where all are in quarantine, since none is lost. What can't be read at all is 400."""
    intake: Intake = request.app.state.intake
    intake.check(request.path_params["source"], request.method)
    headers = request.headers
    length = _length(headers.get("content-length", "0"))
    if length > intake.limits.body:
        raise too_large(intake.limits.body)
    with intake.room.share() as share:
        taken = await intake.take(
            request.path_params["source"],
            await intake.read(request.stream(), share),
            content_type=headers.get("content-type", ""),
            encoding=headers.get("content-encoding", ""),
            idempotency_key=headers.get("idempotency-key", ""),
            request_id=exchange(request.scope).request_id,
            method=request.method,
            share=share,
        )
    return Response(_encoder.encode(taken), media_type="application/json")


def _length(given: str) -> int:
    try:
        return int(given)
    except ValueError:
        raise BadRequestError(f"Content-Length {given!r} is not a number") from None


# Each source says which of them it takes.
_METHODS = ["POST", "PATCH", "DELETE", "GET", "PUT", "OPTIONS", "TRACE"]
routes: list[Route] = [Route("/v1/events/{source}", events, methods=_METHODS)]
