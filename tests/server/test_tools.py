"""MCP by the official client: the same lambdas, checks and tokens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import TextContent

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.deploy.ledger import Ledger
from realtime.serving.tokens import Grant, Tokens
from tests.server.conftest import LAMBDAS
from tests.server.running import Running, running
from tests.serving.plans import deploy, plan


def connected(
    server: Running, work: Callable[[Client], Awaitable[None]], headers: dict[str, str] | None = None
) -> None:
    async def inside() -> None:
        async with (
            httpx2.AsyncClient(headers=headers or {}) as http,
            Client(streamable_http_client(f"http://127.0.0.1:{server.port}/mcp", http_client=http)) as client,
        ):
            await work(client)

    asyncio.run(inside())


def test_each_lambda_is_a_tool(served: Running) -> None:
    async def work(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {s.name for s in LAMBDAS}
        numbers = tools["numbers"]
        assert numbers.description == "The first numbers"
        assert numbers.input_schema["properties"]["count"]["maximum"] == 1_000_000
        found = await client.call_tool("numbers", {"count": 2, "label": "é\t'"})
        rows = [{"n": 0, "label": "é\t'"}, {"n": 1, "label": "é\t'"}]
        assert found.structured_content == {"rows": rows}
        assert isinstance(found.content[0], TextContent)
        assert json.loads(found.content[0].text) == rows

    connected(served, work)


def test_what_is_wrong_is_told(served: Running) -> None:
    async def work(client: Client) -> None:
        for name, arguments, words in (
            ("numbers", {"count": -1}, "expected is a whole number from 0 to 1000000"),
            ("numbers", {"cuont": 1}, "did you mean count?"),
            ("numbrs", {}, "did you mean numbers?"),
            ("throws", {}, "out of range"),
        ):
            found = await client.call_tool(name, arguments)
            assert found.is_error
            assert isinstance(found.content[0], TextContent)
            assert words in found.content[0].text
            assert "secret" not in found.content[0].text

    connected(served, work)


def test_a_token_shows_what_it_may_run(
    endpoint: Endpoint, clickhouse: ClickHouse, tmp_path: Path, database: str
) -> None:
    Ledger(clickhouse, database).create()
    echo = next(s for s in LAMBDAS if s.name == "echo")
    deploy(clickhouse, plan(database, [*LAMBDAS]))
    secret = Tokens(clickhouse, database).create(Grant("assistant", run=("echo", "numbers"), fixed={"stream": "mine"}))

    async def work(client: Client) -> None:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"echo", "numbers"}
        assert (await client.call_tool(echo.name, {})).structured_content == {"rows": [{"s": "mine"}]}
        for name, arguments in (("echo", {"stream": "theirs"}), ("numbers", {}), ("moment", {})):
            assert (await client.call_tool(name, arguments)).is_error

    with running(endpoint, database, tmp_path) as server:
        connected(server, work, {"Authorization": f"Bearer {secret}"})
        assert server.ask("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).status == 401
