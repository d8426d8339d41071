"""Where the server listens, and which web pages may use it while there are no tokens.

A browser on this machine reaches loopback for any page that it shows: a page of another origin may not use the server
(its ``Origin`` tells), nor one that has its own name point here (its ``Host`` tells).
"""

from __future__ import annotations

import functools
import ipaddress
import urllib.parse

from realtime.errors import ConfigError

_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def is_public(host: str) -> bool:
    """Whether ``host`` is not on loopback.

    >>> is_public("127.0.0.1"), is_public("0.0.0.0")
    (False, True)
    """
    try:
        return host not in _NAMES and not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def check_host(host: str, tokens: int) -> None:
    """ConfigError where others can reach ``host`` and there are no tokens."""
    if is_public(host) and not tokens:
        raise ConfigError(
            f"DUET_SERVER_HOST is {host!r}, which others can reach, and there are no tokens yet",
            remedy="make one first (duet token create --help), or listen on 127.0.0.1",
        )


@functools.lru_cache(maxsize=64)
def foreign(host: str, origin: str) -> str:
    """Why a request is not for this server; empty where it is. Without ``Host`` it is no browser's."""
    try:
        name = urllib.parse.urlsplit(f"//{host}").hostname
        page = urllib.parse.urlsplit(origin).netloc
    except ValueError:
        return "Host or Origin is no address"
    if name and name not in _NAMES:
        return f"this server is not called {name[:80]}; use 127.0.0.1 or localhost"
    return "pages of another origin may not use this server" if origin and page != host else ""
