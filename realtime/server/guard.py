"""Who may do what: a token where there are tokens, else whoever is on this machine.

Without tokens the server listens on loopback only, and keeps other web pages out (`realtime.server.origin`). With them
every address but a few needs ``Authorization: Bearer …``; pages of other origins may call with one, as far as
``DUET_CORS_ORIGINS`` names them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from realtime.server.errors import answer
from realtime.server.exchange import exchange
from realtime.server.origin import foreign
from realtime.serving.formats import split_suffix
from realtime.serving.signed import Signed, looks_signed
from realtime.serving.tokens import Bucket, ForbiddenError, Grant, Keyring, UnauthorizedError

OPEN = frozenset({"/", "/docs", "/console", "/healthz", "/readyz"})
"""Pages that hold nothing of the project, and what a load balancer asks."""
_PAGES, _DEFINITION = "/console/", "definition"
_LAMBDA, _EVENTS, _TOOLS = "/v1/lambdas/", "/v1/events/", "/mcp"
GRANT = "duet.grant"


class Guard:
    """Middleware that answers 401, 403 or 429, and leaves a call's `Grant` in ``scope["duet.grant"]``.

    ``origins`` are those of web pages that may call; ``public`` says that the server can be reached from elsewhere, and
    so that nobody may call without a token, whatever is known of tokens; ``signed`` checks JWTs. Plain ASGI: it is on
    the way of every call.
    """

    def __init__(self, app: ASGIApp, origins: frozenset[str], signed: Signed, public: bool) -> None:
        self._app = app
        self._origins = origins
        self._signed = signed
        self._closed = public or signed.configured

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        keyring: Keyring = scope["state"]["registry"].keyring
        required = keyring.required or self._closed
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get(b"origin", "")
        if origin in self._origins:
            send = _with_headers(send, _allowed(origin))
            if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
                await answer_preflight(send)
                return
        elif not required and (reason := foreign(headers.get(b"host", ""), origin)):
            await answer(exchange(scope), 403, "forbidden", reason)(scope, receive, send)
            return
        if required and scope["path"] not in OPEN and not scope["path"].startswith(_PAGES):
            admitted = await self._admit(keyring, headers, scope, receive, send)
            if admitted is None:
                return
            send = admitted
        await self._app(scope, receive, send)

    async def _admit(
        self, keyring: Keyring, headers: Mapping[bytes, str], scope: Scope, receive: Receive, send: Send
    ) -> Send | None:
        """Where to send the answer; None where the request was refused."""
        here = exchange(scope)
        try:
            secret = _bearer(headers.get(b"authorization", ""))
            grant, bucket = (self._signed if looks_signed(secret) else keyring).grant(secret)
            here.caller = grant.name
            grant.check(*_wanted(scope["path"]))
        except (UnauthorizedError, ForbiddenError) as error:
            known = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
            refusal = answer(here, error.status, error.code, error.message, {"remedy": error.remedy}, known)
            await refusal(scope, receive, send)
            return None
        scope[GRANT] = grant
        return send if bucket is None else await self._limit(bucket, grant, scope, receive, send)

    async def _limit(self, bucket: Bucket, grant: Grant, scope: Scope, receive: Receive, send: Send) -> Send | None:
        wait = bucket.take()
        known = {
            "X-RateLimit-Limit": f"{bucket.size:g}",
            "X-RateLimit-Remaining": str(int(bucket.left)),
            "X-RateLimit-Reset": str(math.ceil((bucket.size - bucket.left) / bucket.rate)),
        }
        if not wait:
            return _with_headers(send, [(k.lower().encode(), v.encode()) for k, v in known.items()])
        message = f"token {grant.name} may call {grant.rate:g} times a second"
        known["Retry-After"] = str(math.ceil(wait))
        refusal = answer(exchange(scope), 429, "rate_limited", message, {"remedy": "call less often"}, known)
        await refusal(scope, receive, send)
        return None


def _wanted(path: str) -> tuple[str, str]:
    """What a token must be for, as `Grant.check` takes it."""
    if path.startswith(_LAMBDA):
        name, _, rest = path.removeprefix(_LAMBDA).partition("/")
        return ("admin", path) if rest == _DEFINITION else ("run", split_suffix(name)[0])
    if path == _TOOLS:
        return "list", path  # each tool is checked by itself
    if path.startswith(_EVENTS):
        return "ingest", path.removeprefix(_EVENTS)
    return "admin", path


def _bearer(header: str) -> str:
    kind, _, secret = header.partition(" ")
    if kind.lower() != "bearer" or not secret.strip():
        raise UnauthorizedError("a token is needed", remedy="send it as Authorization: Bearer …")
    return secret.strip()


def _allowed(origin: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (
            b"access-control-expose-headers",
            b"x-lambda-version, x-next-cursor, link, x-request-id, retry-after, age, etag",
        ),
        (b"vary", b"origin"),
    ]


async def answer_preflight(send: Send) -> None:
    """What a browser asks before it calls from another origin."""
    headers = [
        (b"access-control-allow-methods", b"GET, POST, PATCH, DELETE"),
        (
            b"access-control-allow-headers",
            b"authorization, content-type, idempotency-key, x-request-id, x-split-key, if-none-match, cache-control,"
            b" traceparent, tracestate",
        ),
        (b"access-control-max-age", b"600"),
        (b"content-length", b"0"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *headers]
        await send(message)

    return sending
