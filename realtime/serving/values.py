"""Values of DuckDB types: read strictly from JSON or text, written as ClickHouse's parameter text.

`FORMS` is the table of what a parameter can be; what it does not list can't be one.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import json
import math
import re
import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from realtime.clickhouse.parameters import ESCAPES
from realtime.errors import ConfigError
from realtime.transpile.types import LISTS, DuckType, Kind, integer_range

_INTEGER = re.compile(r"[+-]?[0-9]{1,60}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_EXACT = decimal.Context(prec=100, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX)
_FRACTION = {"TIMESTAMP_S": 0, "TIMESTAMP_MS": 3}
# What ClickHouse holds as Date32 and DateTime64.
_FIRST, _LAST = dt.date(1900, 1, 1), dt.date(2299, 12, 31)
_REMEDIES = {
    # ClickHouse compares times of day otherwise.
    Kind.TIME: "declare it varchar with format='^[0-2][0-9]:[0-5][0-9]:[0-5][0-9]$', and compare it with "
    "strftime(moment, '%H:%M:%S')",
}
_BEYOND_JSON = {"BIGINT", "UBIGINT", "HUGEINT", "UHUGEINT"}


@dataclasses.dataclass(frozen=True)
class Form:
    """How values of one kind go in and out.

    ``text`` turns a query string's text into what JSON would hold; ``read`` takes that and returns the value or
    raises ValueError; ``write`` gives its text for ClickHouse, before escaping; ``bare`` says that a list holds
    it without quotes; ``expected`` says in words what is taken.
    """

    read: Callable[[Any, DuckType], Any]
    expected: Callable[[DuckType], str]
    text: Callable[[str], Any] = str
    write: Callable[[Any], str] = str
    bare: bool = False


def read(given: Any, wanted: DuckType) -> Any:
    """The value of type ``wanted`` that JSON's ``given`` stands for; ValueError where it is none.

    Returns int, float, Decimal, bool, str, date, datetime (UTC; naive for TIMESTAMP), UUID, or a list of them
    and None.
    """
    if wanted.kind is Kind.LIST:
        if not isinstance(given, (list, tuple)):
            raise ValueError
        return [None if item is None and _nullable(wanted.item) else read(item, wanted.item) for item in given]
    if wanted.kind is Kind.ARRAY:
        if not isinstance(given, (list, tuple)) or len(given) != wanted.size:
            raise ValueError
        return [read(item, wanted.item) for item in given]
    if isinstance(given, float):  # only a spec holds these: a request's are read as Decimal
        given = decimal.Decimal(repr(given))
    return form(wanted).read(given, wanted)


def read_text(given: str, wanted: DuckType) -> Any:
    """The value that a query string's text stands for; ValueError where it is none."""
    return read(form(wanted).text(given), wanted)


def read_texts(given: Sequence[str], wanted: DuckType) -> list[Any]:
    """The list or array that the texts of a query string stand for; ValueError where they are none."""
    return cast("list[Any]", read([form(wanted.item).text(each) for each in given], wanted))


def write(value: Any, wanted: DuckType) -> str:
    r"""The text that ClickHouse reads back as ``value``: its TabSeparated escapes, a list's items in quotes.

    >>> from realtime.transpile.types import duck_type
    >>> print(write("a\tb'c", duck_type("VARCHAR")), write(["x'", None], duck_type("VARCHAR[]")))
    a\tb\'c ['x\'',NULL]
    """
    if value is None:
        return r"\N"
    if wanted.kind in LISTS:
        return "[" + ",".join(_item(item, wanted.item) for item in value) + "]"
    return form(wanted).write(value).translate(ESCAPES)


def form(wanted: DuckType) -> Form:
    """The entry of `FORMS`; ConfigError where the type can't be a parameter."""
    found = FORMS.get(wanted.kind)
    if found is None:
        otherwise = "declare it varchar and cast it in the lambda; for a closed list of texts, give `enum`"
        remedy = _REMEDIES.get(wanted.kind, otherwise)
        raise ConfigError(f"a parameter can't be of type {wanted.name}", remedy=remedy)
    return found


def expected(wanted: DuckType) -> str:
    """What is taken, in words."""
    if wanted.kind is Kind.LIST:
        return f"a list, each item {expected(wanted.item)}"
    if wanted.kind is Kind.ARRAY:
        return f"a list of {wanted.size} items, each {expected(wanted.item)}"
    return form(wanted).expected(wanted)


def _item(value: Any, wanted: DuckType) -> str:
    if value is None:
        return "NULL"
    text = write(value, wanted)
    return text if wanted.kind in LISTS or form(wanted).bare else f"'{text}'"


def _nullable(wanted: DuckType) -> bool:
    return wanted.kind not in LISTS


def _integer_text(given: str) -> Any:
    return int(given) if _INTEGER.fullmatch(given) else given


def _number_text(given: str) -> Any:
    try:
        return decimal.Decimal(given) if _NUMBER.fullmatch(given) else given
    except decimal.InvalidOperation:  # an exponent that no number of Python's has
        return given


def _boolean_text(given: str) -> Any:
    return {"true": True, "false": False}.get(given, given)


def _integer(given: Any, wanted: DuckType) -> int:
    if isinstance(given, str) and wanted.name in _BEYOND_JSON:
        given = _integer_text(given)
    if isinstance(given, decimal.Decimal) and given.adjusted() < 60 and given == given.to_integral_value():
        given = int(given)  # 1.0 is a whole number of JSON's
    least, greatest = integer_range(wanted)
    if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= greatest:
        raise ValueError
    return given


def _float(given: Any, wanted: DuckType) -> float:
    if not isinstance(given, (int, decimal.Decimal)) or isinstance(given, bool):
        raise ValueError
    try:
        value = float(given)
        value = struct.unpack("f", struct.pack("f", value))[0] if wanted.name == "FLOAT" else value
    except OverflowError:
        raise ValueError from None
    if not math.isfinite(value):
        raise ValueError
    return value


def _decimal(given: Any, wanted: DuckType) -> decimal.Decimal:
    """Exact: too many digits are refused, not rounded."""
    given = _number_text(given) if isinstance(given, str) else given
    if not isinstance(given, (int, decimal.Decimal)) or isinstance(given, bool):
        raise ValueError
    value = decimal.Decimal(given)
    if len(value.as_tuple().digits) > 100:
        raise ValueError
    value = value.normalize(_EXACT)
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > wanted.scale:
        raise ValueError
    if value and value.adjusted() >= wanted.precision - wanted.scale:
        raise ValueError
    return value


def _boolean(given: Any, _: DuckType) -> bool:
    if not isinstance(given, bool):
        raise ValueError
    return given


def _string(given: Any, _: DuckType) -> str:
    if not isinstance(given, str):
        raise ValueError
    return given


def _json(given: Any, _: DuckType) -> str:
    if not isinstance(given, str):
        raise ValueError
    try:
        json.loads(given)
    except RecursionError:
        raise ValueError from None
    return given


def _date(given: Any, _: DuckType) -> dt.date:
    if not isinstance(given, str) or not _DATE.fullmatch(given):
        raise ValueError
    return _in_range(dt.date.fromisoformat(given))


def _moment(given: Any, wanted: DuckType) -> dt.datetime:
    """An instant in UTC; an offset is applied, as DuckDB's cast does."""
    if not isinstance(given, str) or not _MOMENT.fullmatch(given):
        raise ValueError
    value = dt.datetime.fromisoformat(given)
    if value.tzinfo is not None:
        try:
            value = value.astimezone(dt.UTC).replace(tzinfo=None)
        except OverflowError:
            raise ValueError from None
    _in_range(value.date())
    if value.microsecond % 10 ** (6 - _FRACTION.get(wanted.name, 6)):
        raise ValueError
    return value.replace(tzinfo=dt.UTC) if wanted.kind is Kind.TIMESTAMPTZ else value


def _uuid(given: Any, _: DuckType) -> uuid.UUID:
    if not isinstance(given, str) or not _UUID.fullmatch(given):
        raise ValueError
    return uuid.UUID(given)


def _in_range(day: dt.date) -> dt.date:
    if not _FIRST <= day <= _LAST:
        raise ValueError
    return day


def _write_moment(value: dt.datetime) -> str:
    return value.replace(tzinfo=None).isoformat(sep=" ")


def _write_boolean(value: bool) -> str:
    return "true" if value else "false"


def _write_decimal(value: decimal.Decimal) -> str:
    return f"{value:f}"


def _expect_integer(wanted: DuckType) -> str:
    least, greatest = integer_range(wanted)
    return f"a whole number from {least} to {greatest}"


def _expect_decimal(wanted: DuckType) -> str:
    return f"a number of at most {wanted.precision - wanted.scale} digits before and {wanted.scale} after the point"


def _expect_moment(wanted: DuckType) -> str:
    digits = _FRACTION.get(wanted.name, 6)
    fraction = (
        "in whole seconds, " if not digits else "" if digits == 6 else f"with at most {digits} digits of fraction, "
    )
    return f"a timestamp as in 2018-05-01T12:30:00Z, {fraction}1900 to 2299"


def _says(text: str) -> Callable[[DuckType], str]:
    return lambda _: text


FORMS: Mapping[Kind, Form] = {
    Kind.INTEGER: Form(_integer, _expect_integer, text=_integer_text, bare=True),
    Kind.FLOAT: Form(_float, _says("a finite number"), text=_number_text, write=repr, bare=True),
    Kind.DECIMAL: Form(_decimal, _expect_decimal, text=_number_text, write=_write_decimal, bare=True),
    Kind.BOOLEAN: Form(_boolean, _says("true or false"), text=_boolean_text, write=_write_boolean, bare=True),
    Kind.TEXT: Form(_string, _says("a text")),
    Kind.JSON: Form(_json, _says("a text that is valid JSON")),
    Kind.DATE: Form(_date, _says("a date as in 2018-05-01, 1900 to 2299"), write=dt.date.isoformat),
    Kind.TIMESTAMP: Form(_moment, _expect_moment, write=_write_moment),
    Kind.TIMESTAMPTZ: Form(_moment, _expect_moment, write=_write_moment),
    Kind.UUID: Form(_uuid, _says("a UUID as in 550e8400-e29b-41d4-a716-446655440000")),
}
