"""Calling lambdas: ``/v1/lambdas/{name}``, its versions and tags, and the list of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from realtime.server.body import read_body
from realtime.server.departure import Departure
from realtime.server.exchange import exchange
from realtime.server.guard import GRANT
from realtime.serving.calls import Call
from realtime.serving.etags import etag, matches
from realtime.serving.failures import GoneError
from realtime.serving.formats import Format, accepted, split_suffix
from realtime.serving.pages import Page
from realtime.serving.parameters import from_body, from_query
from realtime.serving.registry import Catalog, Entry
from realtime.serving.requested import Requested, begins, turned
from realtime.serving.results import Result

_BODY_LIMIT = 1 << 20
_TAGGED = 4 << 20
"""The longest answer with an entity tag: to hash a longer one would hold up other calls."""
_DEPLOY_SECONDS = 2.5


class CallLambda:
    """``GET|POST /v1/lambdas/{name}[/versions/{version}|/tags/{tag}][.suffix]``.

    Bare ASGI, and bytes of ClickHouse passed through: this is the hot path. Parameters come from the query string,
    from a JSON body, or from both.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        here, state = exchange(scope), scope["state"]
        body = from_body(await read_body(receive, _BODY_LIMIT)) if scope["method"] == "POST" else {}
        async with Departure(receive) as departure:
            call, content, age = await _called(scope, body)
        if departure.happened:
            return
        # Not what the replay of recorded calls asks, and no page that other versions can't give.
        if "version" not in scope["path_params"] and call.after is None:
            ms = (time.perf_counter() - here.started) * 1000
            state["recorder"].keep(here.lambda_name, here.version, here.tag, call.given, ms)
        status, headers, content = _reply(scope, call, content, age)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


async def _called(scope: Scope, body: dict[str, Any]) -> tuple[Call, bytes, float | None]:
    """The call of a request, and its answer."""
    call = None
    try:
        call = _call(scope, scope["state"]["registry"].catalog, body)
        return call, *await _answer(scope, call)
    except GoneError as error:
        call = await _newer(scope, call, body, error)
        return call, *await _answer(scope, call)


def _reply(scope: Scope, call: Call, content: bytes, age: float | None) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body: 304 without one where the caller has these rows already."""
    headers = [(b"x-lambda-version", call.entry.spec.version.encode()), (b"vary", b"accept, authorization")]
    headers += _following(scope, content)
    if age is not None:
        headers.append((b"age", b"%d" % age))
        headers.append((b"cache-control", b"private, max-age=%d" % call.entry.spec.cache_seconds))
    if scope["method"] == "GET" and len(content) <= _TAGGED:
        tag = etag(call.form, content)
        headers.append((b"etag", tag))
        if (known := _header(scope, b"if-none-match")) and matches(known.encode("latin-1"), tag):
            return 304, headers, b""
    headers.append((b"content-type", call.form.header))
    headers.append((b"content-length", b"%d" % len(content)))
    return 200, headers, content


def _following(scope: Scope, content: bytes) -> list[tuple[bytes, bytes]]:
    """Where the next page is, where there is one. A link says it for requests that are all in their address."""
    if not isinstance(content, Page) or not content.cut.cursor:
        return []
    cursor = content.cut.cursor.encode()
    headers = [(b"x-next-cursor", cursor)]
    if scope["method"] == "GET":
        asked = scope["query_string"].replace(b"<", b"%3C").replace(b">", b"%3E").split(b"&")
        rest = [part for part in asked if part and not part.startswith(b"cursor=")]
        headers.append((b"link", b'<?%s>; rel="next"' % b"&".join([*rest, b"cursor=" + cursor])))
    return headers


async def _answer(scope: Scope, call: Call) -> tuple[bytes, float | None]:
    """The body, and its age in seconds where it may be a kept one."""
    state = scope["state"]
    if not call.entry.spec.cache_seconds:
        return await state["calls"].answer(call), None
    fresh = "no-cache" in _header(scope, b"cache-control")
    found: Result = await state["results"].answer(call, fresh=fresh)
    return found


def _call(scope: Scope, catalog: Catalog, body: dict[str, Any]) -> Call:
    """The request's version and parameters, those that its token fixes among them."""
    here = exchange(scope)
    entry, form = _found(scope, catalog)
    here.tag = scope["path_params"].get("tag", "")
    query = from_query(scope["query_string"])
    where = begins(catalog, entry, query, body)
    if where is not None and "version" not in scope["path_params"]:
        entry = turned(catalog, entry, where)
    here.lambda_name, here.version = entry.spec.name, entry.spec.version
    form = form or accepted(_header(scope, b"accept"))
    request = Requested(query, body, where, scope.get(GRANT))
    return request.call(entry, form, here.request_id, here.asked)


async def _newer(scope: Scope, call: Call | None, body: dict[str, Any], gone: GoneError) -> Call:
    """The call on the version that a deploy has made latest: its views are there a moment before a server knows. Where
    there is no ``call`` yet, on the version of its cursor, which another server may know already.

    Raises ``gone`` where none comes, as for a version that the caller chose.
    """
    registry = scope["state"]["registry"]
    deadline = time.monotonic() + _DEPLOY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(GoneError):
            again = _call(scope, registry.catalog, body)
            if call is None or again.entry is not call.entry:
                return again
            if scope["path_params"].keys() & {"version", "tag"} or again.after is not None:
                break
        await asyncio.sleep(0.05)
    raise gone


def _found(scope: Scope, catalog: Catalog) -> tuple[Entry, Format | None]:
    """The version that the address means, and the format that its suffix asks for."""
    path = scope["path_params"]
    if "tag" in path:
        tag, form = split_suffix(path["tag"])
        path["tag"] = tag
        return catalog.tagged(path["name"], tag, _header(scope, b"x-split-key")), form
    if "version" in path:
        version, form = split_suffix(path["version"])
        return catalog.find(path["name"], version), form
    name, form = split_suffix(path["name"])
    return catalog.find(name), form


def _header(scope: Scope, wanted: bytes) -> str:
    for name, value in scope["headers"]:
        if name == wanted:
            text: str = value.decode("latin-1")
            return text
    return ""


async def list_lambdas(request: Request) -> Response:
    """Every lambda that can be called, with its parameters, columns and versions."""
    catalog: Catalog = request.state.registry.catalog
    found = [
        {
            "name": name,
            "version": entry.spec.version,
            "versions": list(catalog.versions[name]),
            "tags": {
                tag: {share.version: share.weight for share in found.versions}
                for tag, found in catalog.tags.get(name, {}).items()
            },
            "description": entry.spec.description,
            "depends_on": entry.spec.depends_on,
            "limits": entry.spec.limits or {},
            "cache_seconds": entry.spec.cache_seconds,
            "parameters": [
                {"name": p.param.name, "type": p.param.type, "required": p.param.required, "default": p.param.default,
                 "description": p.param.description, "expected": p.expected}
                for p in entry.signature.parameters.values()
            ],
            "columns": [{"name": c.name, "type": c.type, "description": c.description} for c in entry.spec.columns],
        }
        for name, entry in catalog.latest.items()
    ]  # fmt: skip
    return Response(msgspec.json.encode({"lambdas": found}), media_type="application/json")


_METHODS = ["GET", "POST"]
_endpoint = CallLambda()
routes = [
    Route("/v1/lambdas/{name}", _endpoint, methods=_METHODS),
    Route("/v1/lambdas/{name}/versions/{version}", _endpoint, methods=_METHODS),
    Route("/v1/lambdas/{name}/tags/{tag}", _endpoint, methods=_METHODS),
    Route("/v1/lambdas", list_lambdas),
]
