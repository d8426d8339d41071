"""What a text parameter must look like: a format of JSON Schema by its name, or a regular expression.

Expressions are matched by Rust's engine, in time that grows with the text only: a caller can't make one take long.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import ipaddress
import re
from collections.abc import Callable, Mapping

from pydantic_core import SchemaError, SchemaValidator, core_schema

from realtime.errors import ConfigError

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})")


@dataclasses.dataclass(frozen=True)
class TextFormat:
    """``schema`` is its part of a JSON Schema, ``expected`` says in words what is taken."""

    schema: Mapping[str, str]
    expected: str
    matches: Callable[[str], bool]


def text_format(given: str) -> TextFormat:
    """The entry of `FORMATS`, or an expression that begins with ``^``; ConfigError where it is neither.

    >>> text_format("email").matches("a@b.test"), text_format("^[a-z]{2}$").matches("abc")
    (True, False)
    """
    if given in FORMATS:
        expected, matches = FORMATS[given]
        return TextFormat({"format": given}, expected, matches)
    if not given.startswith("^"):
        raise ConfigError(
            f"{given!r} is no format", remedy=f"use {', '.join(FORMATS)}, or an expression as in ^[a-z]+$"
        )
    return TextFormat({"pattern": given}, f"a text that matches {given}", _pattern(given))


def _pattern(expression: str) -> Callable[[str], bool]:
    try:
        return SchemaValidator(core_schema.str_schema(pattern=expression, regex_engine="rust-regex")).isinstance_python
    except SchemaError as error:
        said = str(error).strip().splitlines()[-1].removeprefix("error: ")
        raise ConfigError(
            f"the expression {expression} can't be used: {said}", remedy="write it as Rust's regex takes it"
        ) from None


def _reads(reader: Callable[[str], object], pattern: re.Pattern[str] | None = None) -> Callable[[str], bool]:
    def matches(text: str) -> bool:
        try:
            reader(text)
        except ValueError:
            return False
        return pattern is None or pattern.fullmatch(text) is not None

    return matches


_UUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
FORMATS: Mapping[str, tuple[str, Callable[[str], bool]]] = {
    "date": ("a date as in 2018-05-01", _reads(dt.date.fromisoformat, _DATE)),
    "date-time": ("a moment as in 2018-05-01T12:30:00Z", _reads(dt.datetime.fromisoformat, _MOMENT)),
    "email": ("an e-mail address", _pattern(r"^[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+$")),
    "ipv4": ("an IPv4 address", _reads(ipaddress.IPv4Address)),
    "ipv6": ("an IPv6 address", _reads(ipaddress.IPv6Address)),
    "uri": ("an absolute URI", _pattern(r"^[A-Za-z][A-Za-z0-9+.-]*:[^\s]+$")),
    "uuid": ("a UUID as in 550e8400-e29b-41d4-a716-446655440000", _pattern(_UUID)),
}
