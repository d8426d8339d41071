"""OpenAPI 3.1 of this server, made from what is deployed: typed parameters, result columns and source rows."""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import version
from typing import Any

from realtime.ingest.request import methods
from realtime.planner.call_options import in_words
from realtime.planner.ir import Column, LambdaSpec, SourceSpec
from realtime.server.guard import OPEN
from realtime.server.schema import parameter_schema, schema
from realtime.serving.formats import FORMATS, JSON
from realtime.serving.parameters import Parameter
from realtime.serving.registry import Catalog, Entry
from realtime.transpile.types import LISTS, Kind, duck_type

_ERRORS = {
    "400": "A parameter or the body is wrong; the message names it",
    "401": "A token is needed, or the one that was sent is not known any more",
    "403": "The token is not for this, or the call gives what it fixes",
    "404": "No such lambda, version or source",
    "406": "No format that Accept names",
    "408": "The body came too slowly",
    "410": "This version reads what is not deployed any more",
    "413": "The request is too large",
    "422": "The answer is too large, or a computation in it is out of range",
    "429": "More calls than can be taken now; see Retry-After",
    "500": "The server failed; its log has the reason under the request id",
    "503": "The database does not answer",
    "504": "The query took too long",
}
_OF_LAMBDAS = {"400", "404", "406", "413", "422", "429", "500", "503", "504"}
_OF_EVENTS = {"400", "404", "408", "413", "422", "429", "500", "503"}
_REUSED = "The Idempotency-Key stands for another body"
_FIXED = (
    ("/v1/lambdas", "lambdas", "The lambdas that can be called"),
    ("/healthz", "server", "Whether the process lives"),
    ("/readyz", "server", "Whether ClickHouse answers and something is deployed"),
)


_TEXT = {"schema": {"type": "string"}}
_ID = {"X-Request-Id": {"description": "As sent, or made here", **_TEXT}}
_KEPT = {
    "Age": {
        "description": "Seconds since the answer's query, where it may be a kept one",
        "schema": {"type": "integer"},
    },
    "Cache-Control": {"description": "How long it may be used", **_TEXT},
}
NEXT_CURSOR = {"type": ["string", "null"], "description": "The cursor of the next page; null on the last one"}
_NEXT = {
    "X-Next-Cursor": {"description": "The cursor of the next page, where there is one", **_TEXT},
    "Link": {"description": 'The next page, rel="next", where there is one and this one was asked by GET', **_TEXT},
}
_WAIT = {
    "Retry-After": {"description": "Seconds until it is worth trying again", "schema": {"type": "integer"}},
    "X-RateLimit-Limit": {"description": "Calls that the token may make at once", "schema": {"type": "number"}},
    "X-RateLimit-Remaining": {"description": "How many of them are left", "schema": {"type": "integer"}},
    "X-RateLimit-Reset": {"description": "Seconds until all of them are", "schema": {"type": "integer"}},
}


def document(catalog: Catalog, *, closed: bool = False) -> dict[str, Any]:
    """The description of ``catalog``; its order is that of names, so equal deploys give equal documents.

    ``closed`` says that nothing is answered without a token.
    """
    paths: dict[str, Any] = {}
    for name, entry in catalog.latest.items():
        paths[f"/v1/lambdas/{name}"] = _lambda(entry, pinned=False)
    for source in sorted(catalog.plan.sources, key=lambda s: s.name) if catalog.plan else ():
        paths[f"/v1/events/{source.name}"] = _events(source)
    for path, tag, summary in _FIXED:
        name = path.strip("/").replace("/", "_")
        responses = {"200": _json("As JSON", {"type": "object"}), **_errors({"500", "503"})}
        paths[path] = {"get": {"tags": [tag], "summary": summary, "operationId": name, "responses": responses}}
    for name, entry in catalog.latest.items():
        paths[f"/v1/lambdas/{name}/versions/{{version}}"] = _lambda(entry, pinned=True)
    found = {
        "openapi": "3.1.0",
        "info": {
            "title": f"{catalog.plan.project if catalog.plan else 'Duet'}: query lambdas and events",
            "version": version("duet"),
            "description": "64-bit integers and decimals are JSON numbers; timestamps are ISO 8601 in UTC; "
            "NaN and infinities are null. Ask for another format by suffix (name.csv) or Accept.",
        },
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR}},
    }
    if closed:
        _close(found)
    return found


def _close(document: dict[str, Any]) -> None:
    """Says of every operation that needs a token that it does."""
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        for operation in operations.values() if path not in OPEN else ():
            operation["security"] = [{"token": []}]
            operation["responses"] |= _errors({"401", "403"})


def _lambda(entry: Entry, *, pinned: bool) -> dict[str, Any]:
    spec = entry.spec
    parameters = list(entry.signature.parameters.values())
    common = {
        "tags": ["lambdas of one version" if pinned else "lambdas"],
        "summary": (spec.description.strip().splitlines() or [spec.name])[0],
        "description": "\n\n".join(
            filter(None, (spec.description, in_words(spec), "One version, which never changes." if pinned else ""))
        ),
    }
    gone = {"410"} if pinned or spec.paging is not None else set()
    responses = {"200": _answer(spec), **_errors(_OF_LAMBDAS | gone)}
    tag = {"ETag": {"description": "Names these rows, for If-None-Match", **_TEXT}}
    had = {**responses["200"], "headers": {**responses["200"]["headers"], **tag}}
    version_part = [{"name": "version", "in": "path", "required": True, "schema": {"type": "string"},
                     "example": spec.version}] if pinned else []  # fmt: skip
    name = f"{spec.name}_version" if pinned else spec.name
    return {
        "get": {
            **common,
            "operationId": f"get_{name}",
            "parameters": [
                *version_part,
                *(_parameter(p, spec.examples[:1]) for p in parameters if _in_query(p)),
                {
                    "name": "If-None-Match",
                    "in": "header",
                    "description": "The ETag of rows that are had already",
                    **_TEXT,
                },
            ],
            "responses": {
                **responses,
                "200": had,
                "304": {"description": "The rows are the same", "headers": had["headers"]},
            },
        },
        "post": {
            **common,
            "operationId": f"call_{name}",
            "parameters": version_part,
            "requestBody": _json(
                "The parameters", object_schema(parameters), required=any(is_needed(p) for p in parameters)
            ),
            "responses": responses,
        },
    }


def _in_query(parameter: Parameter) -> bool:
    """A list of lists can be sent in a body only."""
    return not (parameter.type.kind is Kind.LIST and parameter.type.item.kind is Kind.LIST)


def is_needed(parameter: Parameter) -> bool:
    """A list can't be NULL, so it is needed where it has no default."""
    return parameter.default is None and (parameter.param.required or parameter.type.kind in LISTS)


def _parameter(parameter: Parameter, examples: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    name = parameter.param.name
    found = {
        "name": name,
        "in": "query",
        "required": is_needed(parameter),
        "description": _description(parameter),
        "schema": parameter_schema(parameter),
    }
    if examples and name in examples[0]:
        found["example"] = examples[0][name]
    return found


def _description(parameter: Parameter) -> str:
    text = parameter.param.description
    return (
        f"{text} ({parameter.param.type}: {parameter.expected})"
        if text
        else f"{parameter.param.type}: {parameter.expected}"
    )


def object_schema(parameters: list[Parameter]) -> dict[str, Any]:
    """The schema of a JSON body of ``parameters``."""
    return {
        "type": "object",
        "properties": {
            p.param.name: {**parameter_schema(p, body=True), "description": _description(p)} for p in parameters
        },
        "required": [p.param.name for p in parameters if is_needed(p)],
        "additionalProperties": False,
    }


def _answer(spec: LambdaSpec) -> dict[str, Any]:
    row = row_schema(spec.columns)
    whole: dict[str, Any] = {
        "type": "object",
        "properties": {
            "meta": {"type": "array", "description": "The columns and their ClickHouse types", "items": {
                "type": "object", "properties": {"name": {"type": "string"}, "type": {"type": "string"}}}},
            "data": {"type": "array", "items": row},
            "rows": {"type": "integer"},
            "statistics": {"type": "object"},
        },
        "required": ["meta", "data", "rows", "statistics"],
    }  # fmt: skip
    if spec.paging is not None:
        whole["properties"]["next_cursor"] = NEXT_CURSOR
        whole["required"].append("next_cursor")
    content: dict[str, Any] = {f.media: {} for f in FORMATS}
    content[JSON.media] = {"schema": whole}
    headers = {
        "X-Lambda-Version": {"description": "The version that answered", **_TEXT},
        **_ID,
        **(_KEPT if spec.cache_seconds else {}),
        **(_NEXT if spec.paging is not None else {}),
    }
    return {"description": "The rows", "headers": headers, "content": content}


def row_schema(columns: tuple[Column, ...], needed: Collection[str] = ()) -> dict[str, Any]:
    """A row's schema; ``needed`` names the columns that are never NULL."""
    properties = {}
    for column in columns:
        properties[column.name] = schema(duck_type(column.type), nullable=column.name not in needed)
        if column.description:
            properties[column.name]["description"] = column.description
    found: dict[str, Any] = {"type": "object", "properties": properties}
    if needed:
        found["required"] = [c.name for c in columns if c.name in needed]
    return found


def _events(source: SourceSpec) -> dict[str, Any]:
    """Rows in; for an upserted source that has a column for it, also what is deleted."""
    needed = {*source.not_null, *source.key}
    found = {"post": _rows(source, source.columns, needed, "Rows for", "events")}
    identity = {*source.key, source.version} - {""}
    taken = methods(source)
    if "PATCH" in taken:
        summary = "Columns to change, by key and version, of rows of"
        found["patch"] = _rows(source, source.columns, identity, summary, "patch_events")
    if "DELETE" in taken:
        columns = tuple(c for c in source.columns if c.name in identity)
        found["delete"] = _rows(source, columns, identity, "Keys of rows to delete from", "delete_events")
    return found


def _rows(source: SourceSpec, columns: tuple[Column, ...], needed: set[str], summary: str, name: str) -> dict[str, Any]:
    body = _json(
        "A JSON array of rows, or one object a line",
        {"type": "array", "items": row_schema(columns, needed)},
        required=True,
    )
    header = ",".join(column.name for column in columns)
    body["content"] |= {
        "application/x-ndjson": {"schema": row_schema(columns, needed)},
        "text/csv": {"example": f"{header}\n"},
        "application/vnd.apache.arrow.stream": {},
    }
    taken = {
        "type": "object",
        "properties": {"successful_rows": {"type": "integer"}, "quarantined_rows": {"type": "integer"}},
        "required": ["successful_rows", "quarantined_rows"],
    }
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string"},
        "description": "Rows sent again under the same key are taken once",
    }
    return {
        "tags": ["events"],
        "summary": f"{summary} {source.name}",
        "description": source.description,
        "operationId": f"{name}_{source.name.replace('.', '_')}",
        "parameters": [key],
        "requestBody": body,
        "responses": {
            "200": _json("Each row is on disk, in its table or in quarantine", taken),
            **_errors(_OF_EVENTS, _REUSED),
        },
    }


def _errors(statuses: set[str], of_422: str = _ERRORS["422"]) -> dict[str, Any]:
    texts = {**_ERRORS, "422": of_422}
    return {
        status: {
            **_json(texts[status], {"$ref": "#/components/schemas/Error"}),
            "headers": _ID | (_WAIT if status == "429" else {}),
        }
        for status in sorted(statuses)
    }


def _json(description: str, content: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    found = {"description": description, "content": {"application/json": {"schema": content}}}
    return {**found, "required": True} if required else found


_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}, "details": {"type": "object"}},
            "required": ["code", "message", "details"],
        },
        "request_id": {"type": "string"},
    },
    "required": ["error", "request_id"],
}
