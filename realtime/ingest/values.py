"""How a JSON value becomes a value of a landing column: exactly, or not at all.

Each DuckDB type has a `Codec` with two ways in. The fast one is msgspec's own decoding into ``type``, finished by
``fix``. The slow one, ``read``, takes the value's JSON text, accepts every spelling that is exact (a whole number as
text, a date with a time of 00:00) and raises `UnfitError` with the reason otherwise. Where the fast way fails,
the slow way decides.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import functools
import re
import struct
import uuid
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec

from realtime.ingest.moments import read_date, read_moment, read_time
from realtime.ingest.reasons import UnfitError, shown
from realtime.transpile.types import DuckType, Kind, integer_range

_plain = msgspec.json.Decoder(float_hook=decimal.Decimal)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE = {"nan": "nan", "inf": "inf", "infinity": "inf", "-inf": "-inf", "-infinity": "-inf"}
_NONE = type(None)
_FIRST, _LAST = 1900, 2299  # the years that Date32 and DateTime64 hold


@dataclasses.dataclass(frozen=True)
class Codec:
    """Reads one type. ``fix`` raises a ValueError or ArithmeticError where it leaves a value to ``read``; with
    ``keeps`` it only looks and returns the value as it is. ``fix_all`` is the same for all values of a column at a
    time, where that is faster. ``nullable`` is False for what ClickHouse can't hold as NULL."""

    type: Any
    read: Callable[[Any], Any]
    fix: Callable[[Any], Any] | None = None
    keeps: bool = False
    nullable: bool = True
    fix_all: Callable[[list[Any]], list[Any]] | None = None

    def fixed(self, values: list[Any]) -> list[Any]:
        """The values of a column, each as `fix` gives it."""
        if self.fix_all is not None:
            return self.fix_all(values)
        assert self.fix is not None
        return [self.fix(value) for value in values]


@functools.cache
def codec(wanted: DuckType) -> Codec:
    """The codec of ``wanted``; a type that JSON has no form for gets one that refuses every value."""
    make = _CODECS.get(wanted.kind)
    return make(wanted) if make else Codec(msgspec.Raw, functools.partial(_refused, wanted), _leave)


def optional(inner: Codec) -> Codec:
    """``inner``, or NULL where that can be."""
    if not inner.nullable:
        return inner
    finish = inner.fix

    def fix(value: Any) -> Any:
        return None if value is None or (raw and _is_null(value)) else finish and finish(value)

    def fix_all(values: list[Any]) -> list[Any]:
        if _NONE not in set(map(type, values)):  # `None in values` would compare each value
            return inner.fixed(values)
        fixed = iter(inner.fixed([value for value in values if value is not None]))
        return [None if value is None else next(fixed) for value in values]

    raw = inner.type is msgspec.Raw  # of which msgspec does not take the union with None
    kind = inner.type if raw else inner.type | None
    read = lambda text: None if _is_null(text) else inner.read(text)  # noqa: E731 -- as short as the others
    return Codec(kind, read, finish and fix, inner.keeps, fix_all=None if raw or not finish else fix_all)


def _is_null(raw: Any) -> bool:
    return bytes(raw) == b"null"


def _leave(value: Any) -> Any:
    raise ValueError


def _refused(wanted: DuckType, raw: Any) -> Any:
    raise UnfitError(f"a {wanted.name} can't be sent as JSON")


def _value(raw: Any) -> Any:
    try:
        return _plain.decode(raw)
    except UnicodeDecodeError:
        raise UnfitError("is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise UnfitError(f"is not JSON ({error})") from None
    except RecursionError:
        raise UnfitError("is nested too deeply") from None
    except decimal.InvalidOperation:
        raise _beyond(raw) from None


# -- numbers


def _number(text: str) -> Any:
    """The number that ``text`` stands for, or ``text`` where it is none."""
    try:
        return decimal.Decimal(text) if _NUMBER.fullmatch(text) else text
    except decimal.InvalidOperation:
        raise _beyond(msgspec.json.encode(text)) from None


def _beyond(raw: bytes) -> UnfitError:
    return UnfitError(f"{shown(raw)} has too large an exponent")


def _integer(wanted: DuckType) -> Codec:
    low, high = integer_range(wanted)

    def read(raw: Any) -> int:
        value = _value(raw)
        if isinstance(value, str) and _WHOLE.fullmatch(value) and len(value) < 60:
            value = int(value)  # how JavaScript sends what its numbers can't hold
        if isinstance(value, decimal.Decimal) and value.adjusted() < 60 and value == value.to_integral_value():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise UnfitError(f"expected a whole number, got {shown(raw)}")
        return within(value)

    def within(value: int) -> int:
        if not low <= value <= high:
            raise UnfitError(f"{value} is outside {wanted.name} ({low} to {high})")
        return value

    if high < 2**63:
        return Codec(Annotated[int, msgspec.Meta(ge=low, le=high)], read)
    return Codec(int, read, within, keeps=True)


def _float(wanted: DuckType) -> Codec:
    def read(raw: Any) -> float | str:
        value = _value(raw)
        if isinstance(value, str):
            if value.lower() in _NOT_FINITE:
                return _NOT_FINITE[value.lower()]  # JSON has no numbers for these; ClickHouse reads the text
            value = _number(value)
        if not isinstance(value, (int, decimal.Decimal)) or isinstance(value, bool):
            raise UnfitError(f"expected a number, got {shown(raw)}")
        try:
            number = fix(float(value))
        except OverflowError:
            number = float("inf")
        if number in (float("inf"), float("-inf")):
            raise UnfitError(f"{shown(raw)} is outside {wanted.name}")
        return number

    def fix(value: float) -> float:
        # DuckDB reads JSON numbers as DOUBLE first, so a FLOAT is rounded from that, not from the text. The "<" makes
        # struct raise where a float is too large, instead of giving infinity.
        single: float = struct.unpack("<f", struct.pack("<f", value))[0] if wanted.name == "FLOAT" else value
        return single

    return Codec(float, read, fix if wanted.name == "FLOAT" else None)


def _decimal(wanted: DuckType) -> Codec:
    exact = decimal.Context(prec=wanted.precision, traps=[decimal.Inexact, decimal.InvalidOperation])
    places = decimal.Decimal(1).scaleb(-wanted.scale)
    digits = wanted.precision - wanted.scale
    as_places, limit = places.same_quantum, decimal.Decimal(1).scaleb(digits)

    def fix(value: decimal.Decimal) -> str:
        if not value.is_finite():
            raise UnfitError("is not a finite number")
        return f"{value.quantize(places, context=exact):f}"

    def fix_all(values: list[decimal.Decimal]) -> list[Any]:
        # One that has as many places as the column is as it should be: to quantize costs five times as much.
        found: list[Any] = [value if as_places(value) else exact.quantize(value, places) for value in values]
        if found and not (-limit < min(found) and max(found) < limit):  # comparing NaN raises
            raise ValueError
        # A decimal of more places than six may be written as 1E-7.
        return found if wanted.scale <= 6 else [f"{value:f}" for value in found]

    def read(raw: Any) -> str:
        value = _value(raw)
        if isinstance(value, str):
            value = _number(value)
        if not isinstance(value, (int, decimal.Decimal)) or isinstance(value, bool):
            raise UnfitError(f"expected a number, got {shown(raw)}")
        try:
            return fix(decimal.Decimal(value))
        except decimal.Inexact:
            raise UnfitError(f"{shown(raw)} has more than {wanted.scale} places ({wanted.name})") from None
        except decimal.InvalidOperation:
            raise UnfitError(f"{shown(raw)} has more than {digits} digits before the point ({wanted.name})") from None

    return Codec(decimal.Decimal, read, fix, fix_all=fix_all)


# -- texts


def _boolean(_: DuckType) -> Codec:
    def read(raw: Any) -> bool:
        value = _value(raw)
        if not isinstance(value, bool):
            raise UnfitError(f"expected true or false, got {shown(raw)}")
        return value

    return Codec(bool, read)


def _text(_: DuckType) -> Codec:
    return Codec(str, _read_text)


def _read_text(raw: Any) -> str:
    value = _value(raw)
    if not isinstance(value, str):
        raise UnfitError(f"expected text, got {shown(raw)}")
    return value


def _enum(wanted: DuckType) -> Codec:
    values = tuple(v.replace("''", "'") for v in re.findall(r"'((?:[^']|'')*)'", wanted.name))

    def read(raw: Any) -> str:
        value = _read_text(raw)
        if value not in values:
            raise UnfitError(f"{shown(raw)} is none of {', '.join(values)}")
        return value

    return Codec(Literal[values], read)


def _json(_: DuckType) -> Codec:
    """The value's own JSON text, as it was sent."""

    def fix(raw: Any) -> str:
        text = str(memoryview(raw), "utf-8").strip()
        if text == "null":
            raise UnfitError("is NULL, which this column can't be")
        if "\\u" in text:
            _value(text.encode())  # half a surrogate pair passes as raw text
        return text

    def read(raw: Any) -> str:
        _value(raw)
        return fix(raw)

    return Codec(msgspec.Raw, read, fix)


def _uuid(_: DuckType) -> Codec:
    def read(raw: Any) -> uuid.UUID:
        try:
            return uuid.UUID(_read_text(raw))
        except ValueError:
            raise UnfitError(f"expected a UUID, got {shown(raw)}") from None

    return Codec(uuid.UUID, read)


# -- dates


def _date(_: DuckType) -> Codec:
    def fix(value: dt.date) -> dt.date:
        if not _FIRST <= value.year <= _LAST:
            raise ValueError
        return value

    return Codec(dt.date, lambda raw: read_date(_read_text(raw)), fix, keeps=True)


def _moment(wanted: DuckType) -> Codec:
    zoned = wanted.kind is Kind.TIMESTAMPTZ
    places = {"TIMESTAMP_S": 0, "TIMESTAMP_MS": 3, "TIMESTAMP_NS": 9}.get(wanted.name, 6)

    def read(raw: Any) -> str:
        return read_moment(_read_text(raw), places=places, zoned=zoned)

    def look(value: dt.datetime) -> dt.datetime:
        if value.tzinfo is not None and value.tzinfo is not dt.UTC:
            if not zoned:
                raise ValueError
            value = value.astimezone(dt.UTC)
        if not _FIRST <= value.year <= _LAST:
            raise ValueError
        if places < 6 and value.microsecond % 10 ** (6 - places):
            raise ValueError
        return value

    def look_all(values: list[dt.datetime]) -> list[dt.datetime]:
        years = {value.year for value in values}
        plain = {value.tzinfo for value in values} <= {None, dt.UTC} and places == 6
        if not plain or not years or min(years) < _FIRST or max(years) > _LAST:
            return [look(value) for value in values]
        return values

    if places > 6:
        return Codec(str, read, lambda value: read_moment(value, places=places, zoned=zoned))
    return Codec(dt.datetime, read, look, keeps=not zoned, fix_all=look_all)


def _time(_: DuckType) -> Codec:
    return Codec(str, lambda raw: read_time(_read_text(raw)), read_time)


# -- nested


def row_type(fields: Mapping[str, tuple[Any, bool]], *, omit: bool = False) -> type[msgspec.Struct] | None:
    """A Struct with the fields ``c0``, ``c1`` … for these names in JSON, each with its type and whether it must be
    there; with ``omit``, what is NULL is not written. None where a name has a character that msgspec does not take."""
    made: list[Any] = []
    for i, (kind, required) in enumerate(fields.values()):
        made.append((f"c{i}", kind) if required else (f"c{i}", kind, None))
    names = {f"c{i}": name for i, name in enumerate(fields)}
    try:
        return msgspec.defstruct(
            "Row", made, rename=names, forbid_unknown_fields=True, omit_defaults=omit, kw_only=True, gc=False
        )
    except ValueError:
        return None


def _list(wanted: DuckType) -> Codec:
    item = optional(codec(wanted.item))

    def read(raw: Any) -> list[Any]:
        try:
            found = _raws.decode(raw)
        except msgspec.DecodeError:
            raise UnfitError(
                "is NULL, which a list can't be: send []" if _is_null(raw) else f"expected a list, got {shown(raw)}"
            ) from None
        values = []
        for place, each in enumerate(found, 1):
            try:
                values.append(item.read(each))
            except UnfitError as error:
                raise UnfitError(f"item {place}: {error}") from None
        return values

    fix = item.fix
    return Codec(list[item.type], read, fix and (lambda values: [fix(v) for v in values]), item.keeps, False)  # type: ignore[name-defined]


def _array(wanted: DuckType) -> Codec:
    """A vector: as many finite numbers as its type says."""
    item, size = codec(wanted.item), wanted.size
    singles = struct.Struct(f"<{size}f")

    def read(raw: Any) -> list[float]:
        try:
            found = _raws.decode(raw)
        except msgspec.DecodeError:
            null, given = f"is NULL, which a {wanted.name} can't be", f"expected a list of numbers, got {shown(raw)}"
            raise UnfitError(null if _is_null(raw) else given) from None
        if len(found) != size:
            raise UnfitError(f"expected a list of {size} numbers, got {len(found)}")
        return [number(place, each) for place, each in enumerate(found, 1)]

    def number(place: int, raw: msgspec.Raw) -> float:
        if _is_null(raw):
            raise UnfitError(f"item {place}: is NULL, which no number of a {wanted.name} can be")
        try:
            value = item.read(raw)
        except UnfitError as error:
            raise UnfitError(f"item {place}: {error}") from None
        if isinstance(value, str):
            raise UnfitError(f"item {place}: is not a finite number")
        return float(value)

    def fix(values: list[float]) -> list[float]:
        return list(singles.unpack(singles.pack(*values)))  # as a FLOAT is rounded, all at once

    kind = Annotated[list[float], msgspec.Meta(min_length=size, max_length=size)]
    return Codec(kind, read, fix if wanted.item.name == "FLOAT" else None, nullable=False)


def _struct(wanted: DuckType) -> Codec:
    inner = {name: optional(codec(t)) for name, t in wanted.fields}
    shape = row_type({n: (c.type, not c.nullable) for n, c in inner.items()})
    if shape is None:
        return Codec(msgspec.Raw, lambda raw: _members(raw, inner), _leave, nullable=False)
    fixes = [(f"c{i}", c.fix) for i, c in enumerate(inner.values()) if c.fix]

    def fix(value: Any) -> Any:
        for name, each in fixes:
            setattr(value, name, each(getattr(value, name)))
        return value

    def read(raw: Any) -> dict[str, Any]:
        return _members(raw, inner)

    return Codec(shape, read, fix if fixes else None, True, False)


def _members(raw: Any, inner: dict[str, Codec]) -> dict[str, Any]:
    try:
        given = _fields.decode(raw)
    except msgspec.DecodeError:
        raise UnfitError(f"expected an object, got {shown(raw)}") from None
    unknown = [name for name in given if name not in inner]
    if unknown:
        raise UnfitError(f"field {unknown[0]} is not declared")
    values = {}
    for name, each in inner.items():
        try:
            values[name] = each.read(given.get(name, msgspec.Raw(b"null")))
        except UnfitError as error:
            raise UnfitError(f"field {name}: {error}") from None
    return values


def _map(wanted: DuckType) -> Codec:
    item = optional(codec(wanted.item))
    if wanted.fields[0][1].kind is not Kind.TEXT:
        return Codec(msgspec.Raw, functools.partial(_refused, wanted), _leave, nullable=False)

    def read(raw: Any) -> dict[str, Any]:
        try:
            given = _fields.decode(raw)
        except msgspec.DecodeError:
            raise UnfitError(f"expected an object, got {shown(raw)}") from None
        return {name: item.read(each) for name, each in given.items()}

    fix = item.fix
    fixed = fix and (lambda values: {k: fix(v) for k, v in values.items()})
    return Codec(dict[str, item.type], read, fixed, item.keeps, False)  # type: ignore[name-defined]


_CODECS: dict[Kind, Callable[[DuckType], Codec]] = {
    Kind.INTEGER: _integer,
    Kind.FLOAT: _float,
    Kind.DECIMAL: _decimal,
    Kind.BOOLEAN: _boolean,
    Kind.TEXT: _text,
    Kind.JSON: _json,
    Kind.ENUM: _enum,
    Kind.UUID: _uuid,
    Kind.DATE: _date,
    Kind.TIMESTAMP: _moment,
    Kind.TIMESTAMPTZ: _moment,
    Kind.TIME: _time,
    Kind.LIST: _list,
    Kind.ARRAY: _array,
    Kind.STRUCT: _struct,
    Kind.MAP: _map,
}
