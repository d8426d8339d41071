"""Calling lambdas: ``/v1/lambdas/{name}``, its versions and tags, and the list of them."""

from __future__ import annotations

import datetime as dt

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from realtime.errors import NotFoundError
from realtime.server.body import read_body
from realtime.server.departure import Departure
from realtime.server.exchange import exchange
from realtime.serving.calls import Call
from realtime.serving.formats import accepted, split_suffix
from realtime.serving.parameters import from_body, from_query
from realtime.serving.registry import Catalog

_BODY_LIMIT = 1 << 20


class CallLambda:
    """``GET|POST /v1/lambdas/{name}[/versions/{version}][.suffix]``.

    Bare ASGI, and bytes of ClickHouse passed through: this is the hot path. Parameters come from the query string,
    from a JSON body, or from both.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        here, path, state = exchange(scope), scope["path_params"], scope["state"]
        version, form = split_suffix(path.get("version", ""))
        name = path["name"]
        if not version:
            name, form = split_suffix(name)
        entry = state["registry"].catalog.find(name, version)
        here.lambda_name, here.version = entry.spec.name, entry.spec.version
        form = form or accepted(_header(scope, b"accept"))
        body = from_body(await read_body(receive, _BODY_LIMIT)) if scope["method"] == "POST" else {}
        query = from_query(scope["query_string"])
        given = entry.signature.read(query, body, dt.datetime.now(dt.UTC))
        call = Call(entry, given, form, here.request_id, entry.signature.now(query, body))
        async with Departure(receive) as departure:
            content = await state["calls"].answer(call)
        if departure.happened:
            return
        headers = [
            (b"content-type", form.header),
            (b"content-length", str(len(content)).encode()),
            (b"x-lambda-version", here.version.encode()),
            (b"vary", b"accept"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


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
            "description": entry.spec.description,
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


async def call_tag(request: Request) -> Response:
    """There are no tags yet: says what can be called instead."""
    name, tag = request.path_params["name"], split_suffix(request.path_params["tag"])[0]
    entry = request.state.registry.catalog.find(name)
    raise NotFoundError(
        f"lambda {name} has no tag {tag[:80]}",
        remedy=f"call /v1/lambdas/{name} for the latest version, or /v1/lambdas/{name}/versions/{entry.spec.version}",
    )


_METHODS = ["GET", "POST"]
_call = CallLambda()
routes = [
    Route("/v1/lambdas/{name}", _call, methods=_METHODS),
    Route("/v1/lambdas/{name}/versions/{version}", _call, methods=_METHODS),
    Route("/v1/lambdas/{name}/tags/{tag}", call_tag, methods=_METHODS),
    Route("/v1/lambdas", list_lambdas),
]
