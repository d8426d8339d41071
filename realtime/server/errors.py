"""The one error body: ``{"error":{"code","message","details"},"request_id"}``, whatever went wrong."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from realtime.errors import DuetError, MethodError, OverloadedError, UnavailableError
from realtime.server.exchange import Exchange, exchange
from realtime.serving.failures import QueryError

_LOG = logging.getLogger("duet.server")
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media_type"}
_INTERNAL = "the server failed; its log has the reason under this request id"


def answer(
    here: Exchange,
    status: int,
    code: str,
    message: str,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error's response."""
    here.error = code
    body = {
        "error": {"code": code, "message": message, "details": details or {}},
        "request_id": here.request_id,
    }
    return Response(msgspec.json.encode(body), status, headers, "application/json")


def duet_error(request: Request, error: Exception) -> Response:
    """What a person may read goes out; what tells of the inside goes to the log."""
    assert isinstance(error, DuetError)
    here = exchange(request.scope)
    headers = {}
    message, details = error.message, dict(error.details)
    if error.remedy:
        details["remedy"] = error.remedy
    if isinstance(error, OverloadedError):
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    elif isinstance(error, MethodError):
        headers["Allow"] = ", ".join(details["allowed"])
    elif isinstance(error, UnavailableError):
        _LOG.warning("unavailable", extra={"fields": {"request_id": here.request_id, "error": str(error)}})
        # Its message names the database's address; its remedy is for the caller.
        message, details = "the database does not answer", {"remedy": error.remedy or "try again in a moment"}
        headers["Retry-After"] = "1"
    elif error.status >= 500 and not isinstance(error, QueryError):
        _LOG.error("failed", extra={"fields": {"request_id": here.request_id, "error": str(error)}})
        return answer(here, 500, "internal", _INTERNAL)
    return answer(here, error.status, error.code, message, details, headers)


def http_error(request: Request, error: Exception) -> Response:
    """Starlette's own: no such address, wrong method, body too large."""
    assert isinstance(error, HTTPException)
    here, path = exchange(request.scope), request.url.path[:200]
    code = _CODES.get(error.status_code, "bad_request" if error.status_code < 500 else "internal")
    details: dict[str, Any] = {}
    message = error.detail
    if error.status_code == 404:
        message, details = f"there is nothing at {path}", {"remedy": "see /docs for what there is"}
    if error.status_code == 405:
        allowed = sorted(m.strip() for m in (error.headers or {}).get("Allow", "").split(","))
        message, details = f"{request.method} is not possible at {path}", {"allowed": allowed}
    return answer(here, error.status_code, code, message, details, error.headers)


def unexpected(here: Exchange) -> Response:
    """A bug: its traceback is in the log."""
    _LOG.exception("unexpected error", extra={"fields": {"request_id": here.request_id}})
    return answer(here, 500, "internal", _INTERNAL)


HANDLERS: Mapping[Any, ExceptionHandler] = {DuetError: duet_error, HTTPException: http_error}
