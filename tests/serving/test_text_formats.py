"""Formats of text parameters: what each takes, and what it says."""

from __future__ import annotations

import datetime as dt

import pytest

from realtime.errors import BadRequestError, ConfigError
from realtime.server.schema import parameter_schema
from realtime.serving.parameters import Parameter, Signature
from realtime.serving.text_formats import FORMATS, text_format
from tests.serving.plans import param, spec

TAKEN = {
    "date": ["2018-05-01", "0001-01-01"],
    "date-time": ["2018-05-01T12:30:00Z", "2018-05-01T12:30:00.123456+02:00"],
    "email": ["a@b.test", "ä+tag@sub.example.test"],
    "ipv4": ["127.0.0.1"],
    "ipv6": ["::1", "2001:db8::ff"],
    "uri": ["https://a.test/x?y#z", "urn:isbn:1"],
    "uuid": ["550e8400-e29b-41d4-a716-446655440000", "550E8400-E29B-41D4-A716-446655440000"],
    "^[a-z]{2}[0-9]+$": ["ab1", "zz99"],
}
REFUSED = {
    "date": ["2018-02-30", "2018-5-1", "20180501", ""],
    "date-time": ["2018-05-01 12:30:00Z", "2018-05-01T12:30:00", "2018-05-01T25:00:00Z"],
    "email": ["a", "a@b", "a b@c.test", "@b.test", "a@b.test\n", "a@b..test"],
    "ipv4": ["127.0.0.256", "127.1", "::1"],
    "ipv6": ["127.0.0.1", ":::"],
    "uri": ["a.test", "//a.test", "http: //x", ""],
    "uuid": ["550e8400e29b41d4a716446655440000", "550e8400-e29b-41d4-a716-44665544000g", ""],
    "^[a-z]{2}[0-9]+$": ["ab1\n", "xab1", "ab", "äb1"],
}


def test_every_format_is_tried() -> None:
    assert set(FORMATS) == {name for name in TAKEN if not name.startswith("^")}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken_and_what_is_not(name: str) -> None:
    found = text_format(name)
    assert [text for text in TAKEN[name] if not found.matches(text)] == []
    assert [text for text in REFUSED[name] if found.matches(text)] == []


def test_a_long_text_takes_no_longer_than_its_length() -> None:
    assert not text_format("^(a+)+$").matches("a" * 100_000 + "b")  # exponential where an engine goes back


@pytest.mark.parametrize("given", ["", "mail", "[a-z]", "^(", "^(?=a)"])
def test_no_format(given: str) -> None:
    with pytest.raises(ConfigError) as found:
        text_format(given)
    assert found.value.remedy


def test_a_call_is_checked_and_told_what_is_expected() -> None:
    of = spec("shown", "", [param("to", "VARCHAR", format="email"), param("codes", "VARCHAR[]", format="^[a-z]+$")])
    signature, now = Signature.of(of), dt.datetime.now(dt.UTC)
    assert signature.read({"to": ["a@b.test"], "codes": ["a", "b"]}, {}, now)["codes"] == ["a", "b"]
    with pytest.raises(BadRequestError, match=r"parameter to is .*; expected is an e-mail address"):
        signature.read({"to": ["a"], "codes": ["a"]}, {}, now)
    with pytest.raises(BadRequestError, match="expected is a list, each item a text that matches"):
        signature.read({}, {"to": "a@b.test", "codes": ["a", "B"]}, now)


def test_the_schema_has_it() -> None:
    assert parameter_schema(Parameter.of(param("to", "VARCHAR", format="email"))) == {
        "type": "string",
        "format": "email",
    }
    listed = parameter_schema(Parameter.of(param("to", "VARCHAR[]", format="^a")))
    assert listed == {"type": "array", "items": {"type": "string", "pattern": "^a"}}
