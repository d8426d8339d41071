"""What is refused, and how it is said: the model, the place, the construct, the reason, the remedy. All at once."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from realtime.errors import ConfigError, DuetError, RefusedError
from realtime.planner.planner import plan_project
from tests.planner.small import Declared, project
from tests.planner.sources import SOURCES

PARTS = re.split(r"^-- model: (\w+)\n", (Path(__file__).parent / "refused.sql").read_text(), flags=re.MULTILINE)[1:]
CASES = dict(zip(PARTS[0::2], PARTS[1::2], strict=True))
OPTIONS: dict[str, dict[str, Any] | None] = {
    "opted_out": None,
    "wrong_option": {"modes": "latest"},
    "wrong_mode": {"mode": "magic"},
    "refreshed_by_the_way": {"mode": "refresh", "refresh_every": "90"},
    "refreshed_and_expired": {"mode": "refresh", "ttl": "seen_at + INTERVAL 1 DAY"},
    "not_refreshed": {"refresh_every": "1 minute"},
    "refreshed_in_no_order": {"mode": "refresh", "order_by": ["id", "gone"]},
    "published": {"mode": "published"},
    "published_null": {"mode": "published"},
    "published_of_no_known_type": {"mode": "published"},
    "wrong_order": {"order_by": ["k", "n"]},
    "latest_asked_for": {"mode": "latest"},
    "granularity_of_words": {"index_granularity": "fine"},
    "order_of_numbers": {"order_by": [1]},
    "partitioned_by_a_sum": {"partition_by": "total"},
    "kept_by_no_time": {"ttl": "90 days"},
    "kept_by_two_times": {"ttl": "90 days"},
    "kept_under_another_name": {"ttl": "90 days"},
    "kept_nowhere": {"ttl": "90 days"},
    "ordered_nowhere": {"mode": "read", "order_by": "k"},
    "copied_in_strange_parts": {"mode": "published", "partition_by": "toYear(made)"},
}


def _sql(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("-- says: "))


def _refusals() -> dict[str, list[DuetError]]:
    models = {name: _sql(text) for name, text in CASES.items()}
    models["opted_out"] = "select 1 as a"
    outcome = plan_project(project(SOURCES, models, options=OPTIONS), "x")
    assert not outcome.plan.steps
    found: dict[str, list[DuetError]] = {}
    for refusal in outcome.refusals:
        assert isinstance(refusal, RefusedError)
        assert (refusal.project, refusal.file) == ("t", f"models/{refusal.model}.sql")
        found.setdefault(refusal.model, []).append(refusal)
    return found


REFUSALS = _refusals()


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str) -> None:
    said = "\n".join(map(str, REFUSALS[name]))
    for wanted in re.findall(r"^-- says: (.*)$", CASES[name], flags=re.MULTILINE):
        assert wanted in said
    assert all(error.remedy for error in REFUSALS[name])


def test_all_at_once() -> None:
    assert set(REFUSALS) == set(CASES)


EVENTS = "from {{ source('app', 'events') }}"


def _said(models: dict[str, str], queries: dict[str, str] | None = None) -> list[str]:
    return [str(r).splitlines()[0] for r in plan_project(project(SOURCES, models, queries=queries), "x").refusals]


def test_several_in_one_model() -> None:
    model = f"""with a as (
    select id, hash(k) as h,
        now() as at_
    {EVENTS}
    where random() < 0.5
),
b as (select * from a tablesample 10%),
c as (select id from b order by random() limit 1)
select id, h, hash(id) as again from a"""
    assert _said({"m": model}) == [
        "models/m.sql:2:16: HASH(k): ClickHouse computes another value",
        "models/m.sql:3:9: NOW(): it depends on when the query runs",
        "models/m.sql:5:11: RANDOM(): it depends on chance",
        "models/m.sql:7:35: TABLESAMPLE SYSTEM (10 PERCENT): a sample differs from run to run",
        "models/m.sql:8:33: RANDOM(): it depends on chance",
        "models/m.sql:9:15: HASH(id): ClickHouse computes another value",
    ]


def test_readers_of_a_refused_model() -> None:
    models = {
        "root": f"select id, k, hash(k) as h {EVENTS}",
        "own": "select id, h + 1 as h, random() as r from {{ ref('root') }}",
        "waiting": "select k, count(*) as n from {{ ref('root') }} group by k",
        "after_both": "select count(*) as n from {{ ref('own') }} cross join {{ ref('waiting') }}",
        "not_sql": "select from where",
        "over_not_sql": "select whatever from {{ ref('not_sql') }}",
    }
    queries = {
        "asks": "select k, now() as at_ from {{ ref('waiting') }}",
        "waits": "select n from {{ ref('waiting') }}",
    }
    assert sorted(_said(models, queries)) == [
        "lambdas/asks.sql:1:11: NOW(): it depends on when the query runs",
        "lambdas/waits.sql: waits for models/root.sql",
        "models/after_both.sql: waits for models/own.sql, models/root.sql",
        "models/not_sql.sql:1:13: this SQL can't be parsed: Expected table name",
        "models/over_not_sql.sql: waits for models/not_sql.sql",
        "models/own.sql:1:24: RANDOM(): it depends on chance",
        "models/root.sql:1:15: HASH(k): ClickHouse computes another value",
        "models/waiting.sql: waits for models/root.sql",
    ]


def test_options_and_sql_are_both_looked_at() -> None:
    built = project(SOURCES, {"m": f"select hash(k) as h {EVENTS}"}, options={"m": {"orderby": "k"}})
    option, sql = plan_project(built, "x").refusals
    assert "unknown option orderby\n  → did you mean order_by?" in str(option)
    assert "HASH(k)" in str(sql)


TOPIC = {"brokers": ["a:9092"], "topic": "t", "group": "g"}
KEYED = {"id": "varchar", "v": "bigint"}
UPSERT = {"mode": "upsert", "key": "id", "version": "v"}
GUARDED = {"security_protocol": "sasl_ssl", "username": "u", "password_env": "KAFKA_PASSWORD"}
WRONG_SOURCES = {
    "without types": (Declared({"id": "varchar", "n": "", "m": ""}), "columns without data_type: n, m"),
    "without columns": (Declared({}), "no columns declared"),
    "of an unknown type": (Declared({"id": "money"}), "money"),
    "with an unknown option": (Declared({"id": "varchar"}, options={"modus": "append"}), "unknown option modus"),
    "of an unknown mode": (Declared({"id": "varchar"}, options={"mode": "merge"}), "mode 'merge'"),
    "upsert without key": (Declared({"id": "varchar"}, options={"mode": "upsert"}), "without key and version"),
    "append with key": (Declared({"id": "varchar"}, options={"key": "id"}), "go with mode: upsert"),
    "by an unknown column": (Declared({"id": "varchar"}, options={"event_time": "at"}), "event_time names at"),
    "of a topic without brokers": (
        Declared({"id": "varchar"}, options={"kafka": {"topic": "t", "group": "g"}}),
        "kafka lacks brokers",
    ),
    "of a topic in another format": (
        Declared({"id": "varchar"}, options={"kafka": {**TOPIC, "format": "avro"}}),
        "kafka has format 'avro'",
    ),
    "of a topic with an unknown option": (
        Declared({"id": "varchar"}, options={"kafka": {**TOPIC, "sasl": "x"}}),
        "kafka has sasl, which is not understood",
    ),
    "with an index of an unknown type": (
        Declared({"id": "varchar"}, options={"indexes": [{"columns": "id", "type": "blom"}]}),
        "indexes has type 'blom'\n  → did you mean bloom? it is one of text, bloom, set, minmax",
    ),
    "with an index of what is not there": (
        Declared({"id": "varchar"}, options={"indexes": [{"columns": ["at"], "type": "bloom"}]}),
        "indexes names at, which is none of the source's columns",
    ),
    "with an index of no rows": (
        Declared({"id": "varchar"}, options={"indexes": "id"}),
        "indexes is 'id'\n  → write a list",
    ),
    "with an index of words over numbers": (
        Declared({"id": "bigint"}, options={"indexes": [{"columns": "id", "type": "text"}]}),
        "indexes asks for a text index of id, which is integer",
    ),
    "with an index of floating numbers": (
        Declared({"id": "double"}, options={"indexes": [{"columns": "id", "type": "bloom"}]}),
        "indexes asks for a bloom index of id, which is float",
    ),
    "with an index of vectors of any length": (
        Declared({"id": "float[]"}, options={"indexes": [{"columns": "id", "type": "vector"}]}),
        "indexes asks for a vector index of id\n  → it takes columns of type FLOAT[n] of a source; here: none",
    ),
    "with an index of vectors by an unknown distance": (
        Declared({"id": "float[3]"}, options={"indexes": [{"columns": "id", "type": "vector", "distance": "l3"}]}),
        "indexes has distance 'l3'\n  → it is one of cosine, euclidean",
    ),
    "with an option that indexes do not have": (
        Declared({"id": "float[3]"}, options={"indexes": [{"columns": "id", "type": "vector", "size": 3}]}),
        "indexes has size\n  → write {columns: embedding, type: vector, distance: cosine}",
    ),
    "with vectors of doubles": (Declared({"id": "double[3]"}), "column id is DOUBLE[3]: vectors hold FLOATs"),
    "with a vector in a list": (Declared({"id": "float[3][]"}), "column id is FLOAT[3][], with a vector in it"),
    "with an index that would hide new versions": (
        Declared(KEYED, options={**UPSERT, "indexes": [{"columns": "v", "type": "minmax"}]}),
        "indexes names v, which is none of the key's columns",
    ),
    "of a topic with its password": (
        Declared({"id": "varchar"}, options={"kafka": {**TOPIC, "password": "x"}}),
        "kafka has a password",
    ),
    "of a topic with half a password": (
        Declared({"id": "varchar"}, options={"kafka": {**TOPIC, "security_protocol": "sasl_ssl", "username": "u"}}),
        "kafka lacks sasl_mechanism, password_env with security_protocol sasl_ssl",
    ),
    "of a topic with an unknown protocol": (
        Declared({"id": "varchar"}, options={"kafka": {**TOPIC, "security_protocol": "tls"}}),
        "kafka has security_protocol 'tls'",
    ),
    "of a topic with an unknown mechanism": (
        Declared({"id": "varchar"}, options={"kafka": {**TOPIC, **GUARDED, "sasl_mechanism": "MD5"}}),
        "kafka has sasl_mechanism 'MD5'",
    ),
    "of a topic with a user and no password": (
        Declared({"id": "varchar"}, options={"kafka": {**TOPIC, "username": "u"}}),
        "kafka has username with security_protocol plaintext",
    ),
    "with the hidden column": (Declared({"_ingested_at": "timestamp"}), "hidden column"),
    "of bytes": (Declared({"id": "blob"}), "column id holds BLOBs, which no event can carry"),
    "of bytes inside": (Declared({"id": "struct(a blob)[]"}), "column id holds BLOBs"),
    "of maps by number": (Declared({"id": "map(integer, varchar)"}), "column id holds MAP(INTEGER, VARCHAR), but"),
    "partitioned by what is not there": (
        Declared({"id": "varchar"}, options={"partition_by": "toYear(idd)"}),
        "partition_by reads idd, which is none of the source's columns\n  → did you mean id? ",
    ),
    "partitioned by no expression": (
        Declared({"id": "varchar"}, options={"partition_by": "id, id"}),
        "partition_by is 'id, id', which is not one expression",
    ),
    "kept for a strange time": (
        Declared({"id": "varchar"}, options={"ttl": "90 dayz"}),
        "ttl is '90 dayz', which is not one expression of ClickHouse's\n  → write one, as in `ttl: 90 days`",
    ),
    "kept for too long": (Declared({"id": "varchar"}, options={"ttl": "90 years"}), "90 years is more than 50 years"),
    "kept by no time": (
        Declared({"id": "varchar"}, options={"ttl": "9 days", "event_time": "id"}),
        "ttl is 9 days, but event_time id is VARCHAR",
    ),
    "that lets old versions come back": (
        Declared({**KEYED, "seen": "timestamp"}, options={**UPSERT, "ttl": "seen + INTERVAL 9 DAY"}),
        "ttl reads seen, which is none of the key's columns and the version",
    ),
    "whose versions would not meet": (
        Declared({**KEYED, "seen": "timestamp"}, options={**UPSERT, "partition_by": "toDate(seen)"}),
        "partition_by reads seen, which is none of the key's columns, by which versions of a row meet",
    ),
    "kept by a version that is no time": (
        Declared(KEYED, options={**UPSERT, "ttl": "9 days"}),
        "ttl is 9 days, but version v is BIGINT",
    ),
}


@pytest.mark.parametrize("which", WRONG_SOURCES)
def test_wrong_sources(which: str) -> None:
    declared, said = WRONG_SOURCES[which]
    built = project({"app.events": declared}, {"m": "select count(*) as n from {{ source('app', 'events') }}"})
    source, model = plan_project(built, "x").refusals
    assert "app.events" in str(source)
    assert "models/sources.yml" in str(source)
    assert said in str(source)
    assert source.remedy
    assert "waits for source app.events (models/sources.yml)" in str(model)


def test_two_sources_with_one_landing_table() -> None:
    sources = {"a.b__c": Declared({"id": "varchar"}), "a__b.c": Declared({"id": "varchar"})}
    models = {"m": "select * from {{ source('a', 'b__c') }} union all select * from {{ source('a__b', 'c') }}"}
    first, _ = plan_project(project(sources, models), "x").refusals
    assert "another source has the table x_raw.a__b__c" in str(first)


def test_another_warehouse() -> None:
    built = dataclasses.replace(project(SOURCES, {"m": "select 1 as a"}), adapter="redshift")
    with pytest.raises(ConfigError, match="written for redshift"):
        plan_project(built, "x")


def test_what_has_no_sql() -> None:
    built = project(SOURCES, {"m": "def model(dbt, session): ...", "over": "select * from {{ ref('m') }}"})
    models = {u: dataclasses.replace(m, kind="Python model") if m.name == "m" else m for u, m in built.models.items()}
    first, second = plan_project(dataclasses.replace(built, models=models), "x").refusals
    assert "models/m.sql: m: a Python model has no SQL to keep in real time" in str(first)
    assert "waits for models/m.sql" in str(second)
    models = {u: dataclasses.replace(m, options=None if m.name == "m" else {}) for u, m in models.items()}
    (only,) = plan_project(dataclasses.replace(built, models=models), "x").refusals
    assert "reads the Python model m, which ClickHouse does not have" in str(only)


def test_a_name_that_is_misspelt_is_refused_once() -> None:
    assert len(_refusals()["misspelt"]) == 1


def test_what_is_refused_is_named_once() -> None:
    assert str(RefusedError("meta.realtime.mode asks for it", construct="meta.realtime.mode")) == (
        "meta.realtime.mode asks for it"
    )
