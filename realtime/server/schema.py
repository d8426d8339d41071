"""DuckDB types as JSON Schema (2020-12), the way a lambda answers them and a source takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from realtime.planner.ir import AS_OF, Param
from realtime.serving.parameters import Parameter
from realtime.transpile.types import LISTS, DuckType, Kind, integer_range

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

# What is taken of dates and moments, 1900 to 2299; forms of moments that RFC 3339 lacks are taken beside.
_DAY = "(19|2[0-2])[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_ZONE = "(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9])"
_FRACTIONS = {"TIMESTAMP_S": "", "TIMESTAMP_MS": "(\\.[0-9]{1,3})?"}
_SINGLE = 3.4028235677973366e38
"""The least number that rounds to no FLOAT."""

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
    if of.kind is Kind.ARRAY:
        return {"type": "array", "items": schema(of.item, nullable=False), "minItems": of.size, "maxItems": of.size}
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
    of, found = parameter.type, schema(parameter.type, nullable=body and not _never_null(declared))
    inner = found
    while of.kind in LISTS:
        of, inner = of.item, inner["items"]
        if not body:
            inner |= schema(of, nullable=False)
    inner |= _taken(of)
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


def _never_null(param: Param) -> bool:
    return param.required or param.name == AS_OF


def _taken(of: DuckType) -> dict[str, Any]:
    """What a parameter of type ``of`` takes of all that its JSON type has."""
    if of.kind is Kind.INTEGER:
        least, greatest = integer_range(of)
        return {"minimum": least, "maximum": greatest}
    if of.kind is Kind.DECIMAL:
        beyond = 10 ** (of.precision - of.scale)
        return {"exclusiveMinimum": -beyond, "exclusiveMaximum": beyond, "multipleOf": float(f"1e-{of.scale}")}
    if of.name == "FLOAT":
        return {"exclusiveMinimum": -_SINGLE, "exclusiveMaximum": _SINGLE}
    if of.kind is Kind.DATE:
        return {"pattern": f"^{_DAY}$"}
    if of.kind in (Kind.TIMESTAMP, Kind.TIMESTAMPTZ):
        fraction = _FRACTIONS.get(of.name, "(\\.[0-9]{1,6})?")
        return {"pattern": f"^{_DAY}T{_CLOCK}{fraction}{_ZONE}$"}
    return {}


def _integer(of: DuckType) -> Mapping[str, Any]:
    """The formats that OpenAPI's registry has."""
    name = of.base.lower()
    return {"type": "integer", "format": name} if name in _FORMATS else {"type": "integer"}
