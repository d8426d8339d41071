"""A request's body, as long as it is short."""

from __future__ import annotations

from starlette.types import Receive

from realtime.serving.failures import RequestTooLargeError


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body; RequestTooLargeError beyond ``limit`` bytes."""
    found = b""
    more = True
    while more:
        message = await receive()
        found += message.get("body", b"")
        more = message.get("more_body", False)
        if len(found) > limit:
            raise RequestTooLargeError(f"the body is larger than {limit} bytes", remedy="send a smaller one")
    return found
