"""A request's parameters: checked against the lambda's declaration and bound, never pasted into SQL."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import difflib
import json
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from realtime.errors import BadRequestError, ConfigError
from realtime.planner.ir import AS_OF, CURSOR, PAGE_SIZE, LambdaSpec, Param
from realtime.serving import values
from realtime.serving.text_formats import TextFormat, text_format
from realtime.transpile.types import LISTS, DuckType, Kind, duck_type, integer_range

_DECODER = msgspec.json.Decoder(float_hook=decimal.Decimal)
_SHOWN = 80
_FIELDS = 10_000
_LOST_PLUS = re.compile(r":[0-9.]+ [0-9]{2}:?[0-9]{2}$")  # 12:00:00 02:00, where the + of +02:00 became a space
_MOMENTS = (Kind.TIMESTAMP, Kind.TIMESTAMPTZ)


def from_query(query: bytes) -> dict[str, list[str]]:
    """The texts of a query string by name; BadRequestError where it is not UTF-8.

    >>> from_query(b"stream=a%26b&id=1&id=2")
    {'stream': ['a&b'], 'id': ['1', '2']}
    """
    if not query:
        return {}
    found: dict[str, list[str]] = {}
    try:
        pairs = urllib.parse.parse_qsl(query.decode(), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS)
    except UnicodeDecodeError:
        raise BadRequestError("the query string is not UTF-8", remedy="percent-encode its values as UTF-8") from None
    except ValueError:
        raise BadRequestError(
            f"the query string has more than {_FIELDS} fields", remedy="send the parameters as a JSON body"
        ) from None
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def from_body(body: bytes) -> dict[str, Any]:
    """The values of a JSON body by name, numbers with a point as Decimal; an empty body is an empty object."""
    if not body.strip():
        return {}
    try:
        given = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, decimal.InvalidOperation) as error:
        raise BadRequestError(
            f"the body is not JSON: {error}", remedy='send an object of parameters, as in {"limit": 10}'
        ) from None
    if not isinstance(given, dict):
        raise BadRequestError(
            f"the body is JSON, but {_kind(given)}", remedy='send an object of parameters, as in {"limit": 10}'
        )
    return given


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A declared parameter with what its declaration says, read once."""

    param: Param
    type: DuckType
    default: Any
    minimum: Any
    maximum: Any
    enum: tuple[Any, ...]
    format: TextFormat | None

    @classmethod
    def of(cls, param: Param) -> Parameter:
        """ConfigError where the declaration contradicts itself."""
        wanted = duck_type(param.type)
        item = innermost(wanted)
        values.form(item)

        def declared(what: str, given: Any, as_type: DuckType) -> Any:
            if given is None:
                return None
            try:
                return values.read(given, as_type)
            except ValueError:
                raise ConfigError(
                    f"parameter {param.name}: its {what} {given!r} is not {values.expected(as_type)}",
                    remedy=f"correct `{what}` or the type {param.type}",
                ) from None

        found = cls(
            param=param,
            type=wanted,
            default=declared("default", param.default, wanted),
            minimum=declared("minimum", param.minimum, item),
            maximum=declared("maximum", param.maximum, item),
            enum=tuple(declared("enum", e, item) for e in param.enum),
            format=_format(param, item),
        )
        if found.default is not None and not found.allows(found.default):
            raise ConfigError(
                f"parameter {param.name}: its default {param.default!r} is not {found.expected}",
                remedy="correct `default`, `min`, `max`, `enum` or `format`",
            )
        return found

    @property
    def expected(self) -> str:
        """What is taken, in words."""
        item = innermost(self.type)
        each = values.expected(item)
        if self.enum:
            each = " or ".join(str(e) for e in self.param.enum)
        elif item.kind is Kind.INTEGER:
            least, greatest = integer_range(item)
            lowest = least if self.minimum is None else self.minimum
            each = f"a whole number from {lowest} to {greatest if self.maximum is None else self.maximum}"
        else:
            each = self.format.expected if self.format is not None else each
            each += f", at least {self.param.minimum}" if self.minimum is not None else ""
            each += f", at most {self.param.maximum}" if self.maximum is not None else ""
        return values.expected(self.type).replace(values.expected(item), each)

    def allows(self, value: Any) -> bool:
        """Whether ``value``, or each item of it, is in range, in the closed list and of the format."""
        if isinstance(value, list):
            return all(item is None or self.allows(item) for item in value)
        if self.minimum is not None and value < self.minimum:
            return False
        if self.maximum is not None and value > self.maximum:
            return False
        if self.format is not None and not self.format.matches(value):
            return False
        return not self.enum or value in self.enum


@dataclasses.dataclass(frozen=True)
class Signature:
    """The parameters of one lambda version; ``paged`` says that some of them ask for a page."""

    name: str
    parameters: Mapping[str, Parameter]
    paged: bool = False

    @classmethod
    def of(cls, spec: LambdaSpec) -> Signature:
        """ConfigError where a parameter's declaration contradicts itself."""
        return cls(spec.name, {p.name: Parameter.of(p) for p in spec.params}, spec.paging is not None)

    def read(self, query: Mapping[str, Sequence[str]], body: Mapping[str, Any], now: dt.datetime) -> dict[str, Any]:
        """The value of every parameter: as given, its default, or None.

        ``now`` is the default of ``as_of``, in UTC. BadRequestError names the parameter, what was given and what
        is expected.
        """
        for name in query:
            if name not in self.parameters:
                self._unknown(name)
            if name in body:
                raise self._bad(name, "given in the query string and in the body", "give it once")
        for name in body:
            if name not in self.parameters:
                self._unknown(name)
        return {
            name: self._text(parameter, query[name]) if name in query else self._value(parameter, body, now)
            for name, parameter in self.parameters.items()
        }

    def encode(self, given: Mapping[str, Any]) -> str:
        """``&param_<name>=<text>`` for each value that `read` returned, ready for ClickHouse's address; a page's are
        not bound as they are (`realtime.serving.pages`)."""
        return "".join(
            f"&param_{name}={urllib.parse.quote(values.write(given[name], p.type), safe='')}"
            for name, p in self.parameters.items()
            if not (self.paged and name in (CURSOR, PAGE_SIZE))
        )

    def encode_many(self, given: Mapping[str, Any], name: str, keys: Sequence[Any]) -> str:
        """As `encode`, with the values ``keys`` for parameter ``name``, which a query for many takes as an array."""
        others = {n: p for n, p in self.parameters.items() if n != name}
        array = duck_type(f"{self.parameters[name].type.name}[]")
        bound = urllib.parse.quote(values.write(keys, array), safe="")
        return f"{Signature(self.name, others, self.paged).encode(given)}&param_{name}={bound}"

    def now(self, query: Mapping[str, Sequence[str]], body: Mapping[str, Any]) -> bool:
        """Whether a call leaves ``as_of`` to the server's clock."""
        clock = self.parameters.get(AS_OF)
        return clock is not None and clock.default is None and AS_OF not in query and AS_OF not in body

    def _text(self, parameter: Parameter, given: Sequence[str]) -> Any:
        if parameter.type.kind not in LISTS:
            if len(given) > 1:
                raise self._bad(parameter.param.name, f"given {len(given)} times", "give it once")
            return self._checked(parameter, given[0], values.read_text)
        item = parameter.type.item
        if item.kind is Kind.LIST:
            raise self._bad(parameter.param.name, "a list of lists in the query string", "send it in a JSON body")
        return self._checked(parameter, given, values.read_texts)

    def _value(self, parameter: Parameter, body: Mapping[str, Any], now: dt.datetime) -> Any:
        name = parameter.param.name
        if name in body and body[name] is not None:
            return self._checked(parameter, body[name], values.read)
        if name == AS_OF and name not in body and parameter.default is None:
            return now if parameter.type.kind is Kind.TIMESTAMPTZ else now.replace(tzinfo=None)
        if name not in body and parameter.default is not None:
            return parameter.default
        if parameter.param.required or parameter.type.kind in LISTS or name == AS_OF:
            raise self._wrong(parameter, body.get(name), "is null" if name in body else "is missing")
        return None

    def _checked(self, parameter: Parameter, given: Any, reader: Any) -> Any:
        try:
            value = reader(given, parameter.type)
        except ValueError:
            raise self._wrong(parameter, given) from None
        if not parameter.allows(value):
            raise self._wrong(parameter, given)
        return value

    def _wrong(self, parameter: Parameter, given: Any, what: str = "") -> BadRequestError:
        name = parameter.param.name
        lost = isinstance(given, str) and _LOST_PLUS.search(given) and parameter.type.kind in _MOMENTS
        return BadRequestError(
            f"lambda {self.name}: parameter {name} {what or f'is {_shown(given)}'}; expected is {parameter.expected}",
            remedy="in a query string, write + as %2B" if lost else "",
            **{"lambda": self.name, "parameter": name, "expected": parameter.expected},
            **({} if what == "is missing" else {"given": _shown(given)}),
        )

    def _bad(self, name: str, what: str, remedy: str) -> BadRequestError:
        return BadRequestError(
            f"lambda {self.name}: parameter {name} is {what}", remedy=remedy, **{"lambda": self.name, "parameter": name}
        )

    def _unknown(self, name: str) -> None:
        raise BadRequestError(
            f"lambda {self.name} has no parameter {_shown(name)}",
            remedy=nearest(name, self.parameters, "its parameters are"),
            **{"lambda": self.name, "parameter": name[:_SHOWN]},
        )


def nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """What may have been meant by ``name``.

    >>> nearest("strem", ["stream", "limit"], "its parameters are")
    'did you mean stream?'
    >>> nearest("x", ["stream", "limit"], "its parameters are")
    'its parameters are limit, stream'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name[:_SHOWN], names, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"{otherwise} {', '.join(names[:20])}" if names else "there are none"


def _format(param: Param, item: DuckType) -> TextFormat | None:
    if not param.format:
        return None
    if item.kind is not Kind.TEXT:
        raise ConfigError(
            f"parameter {param.name}: a {param.type} has no format {param.format}",
            remedy="leave `format` out: the type says what is taken, or declare it varchar",
        )
    try:
        return text_format(param.format)
    except ConfigError as error:
        raise ConfigError(f"parameter {param.name}: {error.message}", remedy=error.remedy) from None


def innermost(wanted: DuckType) -> DuckType:
    """The type of the items of a list, of lists; any other is its own."""
    while wanted.kind in LISTS:
        wanted = wanted.item
    return wanted


def _kind(given: Any) -> str:
    return {list: "a list", str: "a text", bool: "a boolean", type(None): "null"}.get(type(given), "a number")


def _shown(given: Any) -> str:
    """A value as JSON, cut where it is long."""
    try:
        text = str(given) if isinstance(given, decimal.Decimal) else json.dumps(given, default=str, ensure_ascii=False)
    except (ValueError, RecursionError):  # a number of thousands of digits, lists in lists in lists
        return "too large to show"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
