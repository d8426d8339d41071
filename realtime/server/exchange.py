"""One request and its answer, as the log, the metrics and the error body see it."""

from __future__ import annotations

import dataclasses
import re
import secrets
import time

from starlette.types import Scope

from realtime.serving.traces import Asked

_KEY = "duet.exchange"
_HEADER = b"x-request-id"
_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")


@dataclasses.dataclass(slots=True)
class Exchange:
    """``request_id`` is the caller's X-Request-Id where it is a plain word, else a new one; ``lambda_name``,
    ``version`` and ``tag`` are set once they are known, ``caller`` is the name of its token, ``status`` is 499 where
    the caller left before the answer. ``asked`` is what a lambda's query tells."""

    request_id: str
    started: float
    lambda_name: str = ""
    version: str = ""
    tag: str = ""
    caller: str = ""
    status: int = 499
    bytes: int = 0
    error: str = ""
    asked: Asked = dataclasses.field(default_factory=Asked)


def begin(scope: Scope) -> Exchange:
    """Makes the request's exchange and leaves it in ``scope``; its id also in ``request.state.request_id``."""
    request_id = ""
    for name, value in scope["headers"]:
        if name == _HEADER:
            request_id = value.decode() if _ID.fullmatch(value) else ""
    found = Exchange(request_id or secrets.token_hex(8), time.perf_counter())
    scope[_KEY] = found
    scope.setdefault("state", {})["request_id"] = found.request_id
    return found


def exchange(scope: Scope) -> Exchange:
    """The request's exchange."""
    found: Exchange = scope[_KEY]
    return found
