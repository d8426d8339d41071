"""DuckDB types as JSON Schema (2020-12), the way a lambda answers them and a source takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from realtime.serving.parameters import Parameter
from realtime.transpile.types import DuckType, Kind, integer_range

_SCALARS: Mapping[Kind, Mapping[str, Any]] = {
    Kind.FLOAT: {"type": "number", "format": "double"},
    Kind.DECIMAL: {"type": "number"},
    Kind.BOOLEAN: {"type": "boolean"},
    Kind.TEXT: {"type": "string"},
    Kind.JSON: {"type": "string", "contentMediaType": "application/json"},
    Kind.ENUM: {"type": "string"},
    Kind.BLOB: {"type": "string"},
    Kind.DATE: {"type": "string", "format": "date"},
    Kind.TIMESTAMP: {"type": "string", "format": "date-time"},
    Kind.TIMESTAMPTZ: {"type": "string", "format": "date-time"},
    Kind.TIME: {"type": "string"},
    Kind.UUID: {"type": "string", "format": "uuid"},
}

_FORMATS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


def schema(of: DuckType, *, nullable: bool = True) -> dict[str, Any]:
    """The schema of a value of type ``of``.

    >>> from realtime.transpile.types import duck_type
    >>> schema(duck_type("BIGINT"))
    {'type': ['integer', 'null'], 'format': 'int64'}
    >>> schema(duck_type("VARCHAR[]"))
    {'type': 'array', 'items': {'type': ['string', 'null']}}
    """
    if of.kind is Kind.LIST:
        return {"type": "array", "items": schema(of.item)}
    if of.kind is Kind.STRUCT:
        return {"type": "object", "properties": {name: schema(field) for name, field in of.fields}}
    if of.kind is Kind.MAP:
        return {"type": "object", "additionalProperties": schema(of.item)}
    found = dict(_integer(of) if of.kind is Kind.INTEGER else _SCALARS.get(of.kind, {}))
    if nullable and "type" in found:
        found["type"] = [found["type"], "null"]
    return found


def parameter_schema(parameter: Parameter, *, body: bool = False) -> dict[str, Any]:
    """The schema of a parameter: in the query string, or in a JSON ``body``, where NULL can be given."""
    declared = parameter.param
    of, found = parameter.type, schema(parameter.type, nullable=body and not declared.required)
    inner = found
    while of.kind is Kind.LIST:
        of, inner = of.item, inner["items"]
        if not body:
            inner |= schema(of, nullable=False)
    if of.kind is Kind.INTEGER:
        least, greatest = integer_range(of)
        inner |= {"minimum": least, "maximum": greatest}
    if declared.enum:
        inner["enum"] = [*declared.enum, *([None] if "null" in inner.get("type", ()) else [])]
    inner |= parameter.format.schema if parameter.format is not None else {}
    numeric = of.kind in (Kind.INTEGER, Kind.FLOAT, Kind.DECIMAL)
    for bound in ("minimum", "maximum"):
        if numeric and getattr(declared, bound) is not None:
            inner[bound] = getattr(declared, bound)
    if declared.default is not None:
        found["default"] = declared.default
    return found


def _integer(of: DuckType) -> Mapping[str, Any]:
    """The formats that OpenAPI's registry has."""
    name = of.base.lower()
    return {"type": "integer", "format": name} if name in _FORMATS else {"type": "integer"}
