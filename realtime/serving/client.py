"""Calls a lambda of a running server, for the command line."""

from __future__ import annotations

import http.client
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from realtime.errors import CommandError, UnavailableError
from realtime.planner.ir import CURSOR


def run_lambda(
    server_url: str,
    name: str,
    params: Mapping[str, Any],
    *,
    version: str = "",
    suffix: str = "json",
    token: str = "",
) -> tuple[int, bytes]:
    """The HTTP status and body of lambda ``name`` for ``params`` (values as JSON holds them).

    ``suffix`` picks the format (json, ndjson, csv, arrow, parquet); ``token`` is sent where there is one.
    UnavailableError where nothing answers at ``server_url``.
    """
    status, body, _ = _run(server_url, name, params, version, suffix, token)
    return status, body


def all_pages(
    server_url: str, name: str, params: Mapping[str, Any], *, version: str = "", token: str = ""
) -> Iterator[bytes]:
    """The rows of lambda ``name``, one in a line, page by page where it answers in pages. CommandError with the
    server's words where it refuses; UnavailableError as of `run_lambda`."""
    cursor: str | None = ""
    while cursor is not None:
        given = {**params, CURSOR: cursor} if cursor else params
        status, body, cursor = _run(server_url, name, given, version, "ndjson", token)
        if status != 200:
            raise CommandError(f"lambda {name} answered {status}: {body.decode(errors='replace')}")
        yield body


def _run(
    server_url: str, name: str, params: Mapping[str, Any], version: str, suffix: str, token: str
) -> tuple[int, bytes, str | None]:
    """Status, body and the cursor of the next page, where there is one."""
    server = urllib.parse.urlsplit(server_url)
    kind = http.client.HTTPSConnection if server.scheme == "https" else http.client.HTTPConnection
    connection = kind(server.hostname or "", server.port, timeout=60)
    pinned = f"/versions/{urllib.parse.quote(version, safe='')}" if version else ""
    path = f"{server.path.rstrip('/')}/v1/lambdas/{urllib.parse.quote(name, safe='')}{pinned}.{suffix}"
    headers = {"Content-Type": "application/json", **bearer(token)}
    try:
        connection.request("POST", path, msgspec.json.encode(params, enc_hook=str), headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers["x-next-cursor"]
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(f"no server answers at {server_url}: {error}", remedy="start it: duet up") from None
    finally:
        connection.close()


def bearer(token: str) -> dict[str, str]:
    """The header that sends ``token``, where there is one."""
    return {"Authorization": f"Bearer {token}"} if token else {}
