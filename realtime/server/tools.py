"""MCP at ``/mcp``: every lambda is a tool that a language model can call, with the same checks, limits and tokens."""

from __future__ import annotations

from typing import Any

import mcp_types as types
import msgspec
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from realtime.errors import DuetError
from realtime.planner.call_options import in_words
from realtime.server.exchange import exchange
from realtime.server.guard import GRANT
from realtime.server.openapi import NEXT_CURSOR, object_schema, row_schema
from realtime.serving.formats import JSON
from realtime.serving.registry import Catalog, Entry
from realtime.serving.requested import Requested, begins, turned
from realtime.serving.results import Result
from realtime.serving.tokens import ForbiddenError

_CALLABLE = types.ToolAnnotations(read_only_hint=True, open_world_hint=False)


def session_manager() -> StreamableHTTPSessionManager:
    """What answers ``/mcp``; its ``run()`` is open as long as the server. It keeps no sessions: any server answers."""
    server: Server[Any] = Server(
        "duet",
        instructions="Each tool is a query over live data. Times are UTC; as_of is the moment to answer for (now).",
        on_list_tools=_list,
        on_call_tool=_call,
    )
    return StreamableHTTPSessionManager(app=server, json_response=True, stateless=True)


class Tools:
    """The ASGI endpoint."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope["state"]["tools"].handle_request(scope, receive, send)


async def _list(context: ServerRequestContext[Any], _: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    """The lambdas that the caller may run."""
    scope = _scope(context)
    entries = scope["state"]["registry"].catalog.latest.values()
    return types.ListToolsResult(tools=[_tool(entry) for entry in entries if _may_run(scope, entry.spec.name)])


async def _call(context: ServerRequestContext[Any], params: types.CallToolRequestParams) -> types.CallToolResult:
    """The rows, or what was wrong in words that a model can act on."""
    try:
        found = msgspec.json.decode(await _answer(_scope(context), params.name, params.arguments or {}))
    except DuetError as error:
        if error.status >= 500:  # it tells of the inside, or of nothing that the caller can mend
            raise
        return types.CallToolResult(content=[types.TextContent(type="text", text=str(error))], is_error=True)
    content = {"rows": found["data"]}
    if "next_cursor" in found:
        content["next_cursor"] = found["next_cursor"]
    text = msgspec.json.encode(content if len(content) > 1 else found["data"]).decode()
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], structured_content=content)


async def _answer(scope: Scope, name: str, arguments: dict[str, Any]) -> bytes:
    here, state = exchange(scope), scope["state"]
    catalog: Catalog = state["registry"].catalog
    entry = catalog.find(name)
    grant = scope.get(GRANT)
    if grant is not None:
        grant.check("run", entry.spec.name)
    where = begins(catalog, entry, {}, arguments)
    if where is not None:
        entry = turned(catalog, entry, where)
    here.lambda_name, here.version = entry.spec.name, entry.spec.version
    call = Requested({}, arguments, where, grant).call(entry, JSON, here.request_id, here.asked)
    if entry.spec.cache_seconds:
        result: Result = await state["results"].answer(call)
        return result.body
    found: bytes = await state["calls"].answer(call)
    return found


def _tool(entry: Entry) -> types.Tool:
    properties: dict[str, Any] = {"rows": {"type": "array", "items": row_schema(entry.spec.columns)}}
    if entry.spec.paging is not None:
        properties["next_cursor"] = NEXT_CURSOR
    return types.Tool(
        name=entry.spec.name,
        description="\n\n".join(filter(None, (entry.spec.description, in_words(entry.spec)))),
        input_schema=object_schema(list(entry.signature.parameters.values())),
        output_schema={"type": "object", "properties": properties},
        annotations=_CALLABLE,
    )


def _may_run(scope: Scope, name: str) -> bool:
    grant = scope.get(GRANT)
    try:
        return grant is None or grant.check("run", name) is None
    except ForbiddenError:
        return False


def _scope(context: ServerRequestContext[Any]) -> Scope:
    request = context.request
    assert request is not None, "only HTTP is served"
    found: Scope = request.scope
    return found


routes = [Route("/mcp", Tools(), methods=["GET", "POST", "DELETE"])]
