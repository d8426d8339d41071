"""The API's description: ``/openapi.json``, and ``/docs`` for people."""

from __future__ import annotations

from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from realtime.server.guard import GRANT
from realtime.server.openapi import document

_PAGE = (Path(__file__).parents[1] / "docs.html").read_bytes()


async def openapi(request: Request) -> Response:
    """OpenAPI 3.1 of what is deployed now."""
    catalog = request.state.registry.catalog
    found = document(catalog, closed=GRANT in request.scope)
    return Response(msgspec.json.encode(found, enc_hook=str), media_type="application/json")


async def docs(request: Request) -> Response:
    """A page that needs nothing from elsewhere."""
    return Response(_PAGE, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _POLICY})


async def home(request: Request) -> Response:
    """To the page."""
    return RedirectResponse("/docs")


_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"
routes = [Route("/openapi.json", openapi), Route("/docs", docs), Route("/", home)]
