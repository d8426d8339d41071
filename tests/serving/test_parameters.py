"""What a request may give, and that exactly this reaches ClickHouse."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import http.client
import json
import string
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import BadRequestError, ConfigError
from realtime.planner.ir import Param
from realtime.serving import values
from realtime.serving.parameters import Parameter, Signature, from_body, from_query
from realtime.transpile.types import INTEGERS, LISTS, duck_type, integer_range
from tests.serving.plans import param, spec

NOW = dt.datetime(2026, 5, 1, 12, 30, 0, 123456, dt.UTC)
Ask = Callable[[str, str], Any]

HOSTILE = st.text(alphabet=st.sampled_from("\\'\"`\t\n\r\0\b\fN{}[](),;%&=+:-é😀\u2028 ab"), max_size=20)
TEXTS = st.one_of(HOSTILE, st.text(max_size=30), st.sampled_from(["\\N", "NULL", "", "'", "\\", "\\\\N", "null"]))
MOMENTS = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2299, 12, 31, 23, 59, 59, 999999))
DATES = st.dates(dt.date(1900, 1, 1), dt.date(2299, 12, 31))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def _decimals(precision: int, scale: int) -> st.SearchStrategy[str]:
    bound = 10**precision - 1
    return st.integers(-bound, bound).map(lambda n: f"{decimal.Decimal(n).scaleb(-scale, decimal.Context(prec=50)):f}")


def _integers(name: str) -> st.SearchStrategy[int]:
    least, greatest = integer_range(duck_type(name))
    return st.one_of(st.integers(least, greatest), st.sampled_from([least, greatest]))


# DuckDB type: what JSON holds for it.
GIVEN: dict[str, st.SearchStrategy[Any]] = {
    **{name: _integers(name) for name in INTEGERS},
    "DOUBLE": FLOATS,
    "FLOAT": st.floats(allow_nan=False, allow_infinity=False, width=32),
    "DECIMAL(18,3)": _decimals(18, 3),
    "DECIMAL(38,10)": _decimals(38, 10),
    "BOOLEAN": st.booleans(),
    "VARCHAR": TEXTS,
    "JSON": st.recursive(TEXTS | FLOATS, lambda inner: st.dictionaries(TEXTS, inner, max_size=3)).map(json.dumps),
    "DATE": DATES.map(dt.date.isoformat),
    "TIMESTAMP": MOMENTS.map(dt.datetime.isoformat),
    "TIMESTAMP_MS": MOMENTS.map(lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000).isoformat()),
    "TIMESTAMP_S": MOMENTS.map(lambda t: t.replace(microsecond=0).isoformat(sep=" ")),
    "TIMESTAMP WITH TIME ZONE": MOMENTS.map(lambda t: t.isoformat() + "Z"),
    "UUID": st.uuids().map(str),
    "VARCHAR[]": st.lists(st.none() | TEXTS, max_size=5),
    "BIGINT[]": st.lists(st.none() | _integers("BIGINT"), max_size=5),
    "FLOAT[3]": st.lists(st.floats(-(2.0**127), 2.0**127, width=32), min_size=3, max_size=3),
    "DOUBLE[]": st.lists(st.none() | FLOATS, max_size=5),
    "DECIMAL(10,2)[]": st.lists(st.none() | _decimals(10, 2), max_size=5),
    "TIMESTAMP[]": st.lists(st.none() | MOMENTS.map(dt.datetime.isoformat), max_size=5),
    "DATE[]": st.lists(st.none() | DATES.map(dt.date.isoformat), max_size=5),
    "BOOLEAN[]": st.lists(st.none() | st.booleans(), max_size=5),
    "UUID[]": st.lists(st.none() | st.uuids().map(str), max_size=5),
    "VARCHAR[][]": st.lists(st.lists(st.none() | TEXTS, max_size=3), max_size=3),
}


@pytest.fixture(scope="module")
def ask(endpoint: Endpoint) -> Iterator[Ask]:
    """The value that ClickHouse holds of the bound parameter ``x``, as JSON."""
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port)

    def asking(kind: str, bound: str) -> Any:
        query = (
            f"/?default_format=JSONEachRow&output_format_json_quote_64bit_integers=0&date_time_output_format=iso{bound}"
        )
        connection.request("POST", query, f"SELECT {{x:{kind}}} AS x")
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        return json.loads(content, parse_float=decimal.Decimal, parse_int=_number)["x"]

    with contextlib.closing(connection):
        yield asking


def _number(text: str) -> int | decimal.Decimal:
    """ClickHouse writes whole floats without a point: the sign of -0 would be lost."""
    return decimal.Decimal(text) if text == "-0" else int(text)


@pytest.mark.parametrize("kind", GIVEN)
def test_each_type_reaches_clickhouse_as_it_was_given(ask: Ask, kind: str) -> None:
    signature = Signature.of(spec("echo", "", [param("x", kind)]))
    wanted = duck_type(kind)

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(GIVEN[kind])
    def check(example: Any) -> None:
        body = from_body(json.dumps({"x": example}).encode())
        value = signature.read({}, body, NOW)
        found = ask(wanted.clickhouse, signature.encode(value))
        assert repr(values.read(found, wanted)) == repr(value["x"])

    check()


@pytest.mark.parametrize("kind", [k for k in GIVEN if duck_type(k).kind not in LISTS])
def test_a_query_string_says_the_same_as_a_body(kind: str) -> None:
    signature = Signature.of(spec("echo", "", [param("x", kind)]))

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(GIVEN[kind])
    def check(example: Any) -> None:
        text = example if isinstance(example, str) else json.dumps(example)
        query = from_query(urllib.parse.urlencode({"x": text}).encode())
        body = from_body(json.dumps({"x": example}).encode())
        assert signature.read(query, {}, NOW) == signature.read({}, body, NOW)

    check()


@settings(max_examples=300, deadline=None, database=None)
@given(kind=st.sampled_from([*GIVEN]), given_value=st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXTS | st.text(string.digits + "-:T .Ze+", max_size=30),
    lambda inner: st.lists(inner, max_size=3), max_leaves=5))  # fmt: skip
def test_anything_else_is_a_clear_refusal(kind: str, given_value: Any) -> None:
    signature = Signature.of(spec("echo", "", [param("x", kind)]))
    refused = None
    try:
        signature.encode(signature.read({}, from_body(json.dumps({"x": given_value}).encode()), NOW))
    except BadRequestError as error:
        refused = error
    if refused is not None:
        assert refused.message.startswith("lambda echo: parameter x is ")
        assert refused.details["expected"] in refused.message


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("INTEGER", ["1", 1.5, 2**31, 2.0**31, True, None, [1], 1e99]),
        ("UBIGINT", [-1, 2**64, "1.0", "", " 1", "1_000", "٣"]),
        ("DOUBLE", ["1", True, "nan"]),
        (
            "DECIMAL(10,2)",
            [1.234, 123456789, "1e400", "nan", True, "", "1e-999999999", "1e999999999", "1e99999999999999999999"],
        ),
        ("BOOLEAN", ["true", 1, 0, None]),
        ("VARCHAR", [1, True, ["a"], {}]),
        ("JSON", ["{", {"a": 1}]),
        ("DATE", ["2018-02-30", "1899-12-31", "2300-01-01", "20180101", "2018-01-01T00:00:00", 1]),
        (
            "TIMESTAMP",
            ["2018-01-01T24:00:00", "2018-01-01 00:00:00 02:00", "2018-01-01T00:00:00.1234567", "now", "0001-01-01"],
        ),
        ("TIMESTAMP_S", ["2018-01-01T00:00:00.5"]),
        ("TIMESTAMP", ["1900-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"]),
        ("UUID", ["550e8400e29b41d4a716446655440000", "{550e8400-e29b-41d4-a716-446655440000}"]),
        ("INTEGER[]", [1, ["1"], [[1]], {"a": 1}, None]),
        ("VARCHAR[][]", [["a"], [None]]),
        ("FLOAT[2]", [1, [1], [1, 2, 3], [1, None], ["1", 2], [1, 1e39], None]),
    ],
)
def test_what_is_not_of_the_type_is_refused(kind: str, wrong: list[Any]) -> None:
    signature = Signature.of(spec("echo", "", [param("x", kind)]))
    for each in wrong:
        with pytest.raises(BadRequestError, match="parameter x is") as error:
            signature.read({}, from_body(json.dumps({"x": each}).encode()), NOW)
        assert error.value.details["lambda"] == "echo"
        assert error.value.details["parameter"] == "x"
        assert error.value.details["expected"]


def test_a_whole_number_may_have_a_point() -> None:
    assert _read([param("n", "INTEGER")], body='{"n": 1.0}') == {"n": 1}
    assert _read([param("n", "BIGINT")], body='{"n": -1.2e3}') == {"n": -1200}


def _read(params: list[Param], query: str = "", body: str = "") -> dict[str, Any]:
    return Signature.of(spec("echo", "", params)).read(from_query(query.encode()), from_body(body.encode()), NOW)


def test_absent_is_default_then_null_then_an_error() -> None:
    assert _read([param("n", "INTEGER", default=20)]) == {"n": 20}
    assert _read([param("n", "INTEGER", required=False)]) == {"n": None}
    assert _read([param("n", "INTEGER", default=20, required=False)], body='{"n": null}') == {"n": None}
    for wrong, what in (
        (param("n", "INTEGER"), "is missing"),
        (param("n", "INTEGER[]", required=False), "is missing; expected is a list, each item a whole number"),
        (param("n", "FLOAT[3]", required=False), "is missing; expected is a list of 3 items, each a finite number"),
    ):
        with pytest.raises(BadRequestError, match=what):
            _read([wrong])


def test_the_clock() -> None:
    naive = NOW.replace(tzinfo=None)
    assert _read([param("as_of", "TIMESTAMP", required=False)]) == {"as_of": naive}
    assert _read([param("as_of", "TIMESTAMP WITH TIME ZONE", required=False)]) == {"as_of": NOW}
    assert _read([param("as_of", "TIMESTAMP", required=False)], "as_of=2018-05-01") == {
        "as_of": dt.datetime(2018, 5, 1)
    }
    with pytest.raises(BadRequestError, match="as_of is null"):
        _read([param("as_of", "TIMESTAMP", required=False)], body='{"as_of": null}')


def test_ranges_and_closed_lists() -> None:
    limit = param("n", "INTEGER", minimum=1, maximum=100)
    assert _read([limit], "n=100") == {"n": 100}
    with pytest.raises(BadRequestError, match="expected is a whole number from 1 to 100"):
        _read([limit], "n=101")
    order = param("order", "VARCHAR", enum=("asc", "desc"), default="asc")
    assert _read([order], "order=desc") == {"order": "desc"}
    with pytest.raises(BadRequestError, match='order is "up"; expected is asc or desc'):
        _read([order], "order=up")
    days = param("days", "DATE[]", minimum="2018-01-01")
    assert _read([days], "days=2018-01-01&days=2018-01-02")["days"] == [dt.date(2018, 1, 1), dt.date(2018, 1, 2)]
    with pytest.raises(BadRequestError, match="at least 2018-01-01"):
        _read([days], "days=2017-12-31")
    price = param("price", "DECIMAL(10,2)", maximum=0.3)
    assert _read([price], "price=0.3") == {"price": decimal.Decimal("0.3")}


def test_one_value_in_one_place() -> None:
    n = param("n", "INTEGER")
    for query, body, what in (
        ("n=1&n=2", "", "given 2 times"),
        ("n=1", '{"n": 1}', "given in the query string and in the body"),
        ("m=1", "", 'has no parameter "m"'),
        ("", '{"N": 1}', 'has no parameter "N"'),
        ("n=", "", 'is ""'),
    ):
        with pytest.raises(BadRequestError, match=what):
            _read([n], query, body)
    with pytest.raises(BadRequestError, match="a list of lists"):
        _read([param("x", "INTEGER[][]")], "x=1")


def test_a_plus_that_the_query_string_lost() -> None:
    moment = param("t", "TIMESTAMP")
    assert _read([moment], "t=2018-05-01T12:00:00%2B02:00") == {"t": dt.datetime(2018, 5, 1, 10)}
    with pytest.raises(BadRequestError) as error:
        _read([moment], "t=2018-05-01T12:00:00+02:00")
    assert error.value.remedy == "in a query string, write + as %2B"


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(BadRequestError) as error:
        _read([param("n", "INTEGER")], "n=" + "x" * 10_000)
    assert len(error.value.message) < 300


@pytest.mark.parametrize(
    ("declared", "what"),
    [
        (param("n", "INTEGER", default="x"), "its default 'x' is not a whole number"),
        (param("n", "INTEGER", default=5, maximum=3), "its default 5 is not"),
        (param("n", "DATE", minimum="yesterday"), "its minimum 'yesterday'"),
        (param("n", "BOOLEAN", enum=("yes",)), "its enum 'yes'"),
        (param("n", "BLOB"), "can't be of type BLOB"),
        (Param(name="n", type="INTERVAL", clickhouse=""), "can't be of type INTERVAL"),
    ],
)
def test_a_contradictory_declaration(declared: Param, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        Parameter.of(declared)
