"""Keeps other web pages out: a browser on this machine reaches loopback for any page that it shows.

As long as there are no tokens, the server listens on loopback only; a page of another origin may not use it (its
``Origin`` tells), nor one that has its own name point here (its ``Host`` tells).
"""

from __future__ import annotations

import functools
import ipaddress
import urllib.parse

from starlette.types import ASGIApp, Receive, Scope, Send

from realtime.errors import ConfigError
from realtime.server.errors import answer
from realtime.server.exchange import exchange

_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class SameOrigin:
    """Middleware that answers 403 to what another page sends; plain ASGI, for it is on the way of every call."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host = origin = b""
            for name, value in scope["headers"]:
                if name == b"host":
                    host = value
                elif name == b"origin":
                    origin = value
            reason = _foreign(host.decode("latin-1"), origin.decode("latin-1"))
            if reason:
                await answer(exchange(scope), 403, "forbidden", reason)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def check_host(host: str) -> None:
    """ConfigError where ``host`` is not on loopback."""
    try:
        own = host in _NAMES or ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = False
    if not own:
        raise ConfigError(
            f"DUET_SERVER_HOST is {host!r}, which others can reach, and the server asks nobody who they are",
            remedy="listen on 127.0.0.1, behind a proxy that checks who calls",
        )


@functools.lru_cache(maxsize=64)
def _foreign(host: str, origin: str) -> str:
    """Why a request is not for this server; empty where it is. Without ``Host`` it is no browser's."""
    try:
        name = urllib.parse.urlsplit(f"//{host}").hostname
        page = urllib.parse.urlsplit(origin).netloc
    except ValueError:
        return "Host or Origin is no address"
    if name and name not in _NAMES:
        return f"this server is not called {name[:80]}; use 127.0.0.1 or localhost"
    return "pages of another origin may not use this server" if origin and page != host else ""
