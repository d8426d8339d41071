"""What statements become is what the fixtures hold, binds in DuckDB and compiles; what has no equal is refused."""

from __future__ import annotations

import pytest
from sqlglot import exp

from realtime.dialects import shared
from realtime.dialects.aggregates import wrappers
from realtime.dialects.translate import DIALECTS, to_duckdb, to_duckdb_type
from realtime.errors import RefusedError
from realtime.project.binder import Binder
from realtime.transpile.form import render
from realtime.transpile.transpile import parse, transpile
from tests.dialects.cases import cases, refused, schema, translated
from tests.transpile.cases import Case
from tests.transpile.rewrite import message


@pytest.fixture(scope="module")
def binders() -> dict[str, Binder]:
    """By dialect, a binder that knows the tables."""
    return {adapter: schema(adapter) for adapter in DIALECTS}


@pytest.mark.parametrize("case", [c for name in DIALECTS for c in cases(name)], ids=str)
def test_translation(case: Case, binders: dict[str, Binder]) -> None:
    binder = binders[case.path.stem]
    assert translated(case, binder) == case.expected
    # The tree goes on to the compiler: it must mean what its text means.
    compiled = transpile(to_duckdb(case.sql, case.path.stem, binder), binder)
    assert render(compiled.tree) == render(transpile(case.expected.removesuffix(";"), binder).tree)


@pytest.mark.parametrize("case", [c for name in DIALECTS for c in refused(name)], ids=str)
def test_refusal(case: Case, binders: dict[str, Binder]) -> None:
    with pytest.raises(RefusedError) as refusal:
        to_duckdb(case.sql, case.path.stem, binders[case.path.stem])
    assert message(refusal.value) == case.expected


def test_every_rule_has_a_case() -> None:
    """What no case uses might mean anything."""
    used: dict[str, set[type[exp.Expr]]] = {}
    for adapter, dialect in DIALECTS.items():
        trees = [parse(case.sql, dialect.sqlglot) for case in [*cases(adapter), *refused(adapter)]]
        used[adapter] = {type(node) for tree in trees for node in tree.walk()}
        assert dialect.rules.keys() - used[adapter] <= wrappers().keys(), adapter
    # Parameters are those of lambdas, which whole projects test.
    assert shared.RULES.keys() - set().union(*used.values()) == {exp.Parameter, exp.Placeholder}


@pytest.mark.parametrize(
    ("adapter", "declared", "duckdb"),
    [
        ("postgres", "character varying(20)", "VARCHAR"),
        ("postgres", "int8", "BIGINT"),
        ("postgres", "numeric(12,2)", "DECIMAL(12, 2)"),
        ("postgres", "timestamp without time zone", "TIMESTAMP"),
        ("postgres", "timestamp with time zone", "TIMESTAMPTZ"),
        ("snowflake", "NUMBER(38,0)", "HUGEINT"),
        ("snowflake", "NUMBER(12,2)", "DECIMAL(12, 2)"),
        ("snowflake", "STRING", "VARCHAR"),
        ("snowflake", "FLOAT", "DOUBLE"),
        ("snowflake", "TIMESTAMP_NTZ", "TIMESTAMP"),
        ("bigquery", "INT64", "BIGINT"),
        ("bigquery", "NUMERIC", "DECIMAL(38, 9)"),
        ("bigquery", "NUMERIC(10, 2)", "DECIMAL(10, 2)"),
        ("bigquery", "TIMESTAMP", "TIMESTAMPTZ"),
        ("bigquery", "DATETIME", "TIMESTAMP"),
        ("spark", "LONG", "BIGINT"),
        ("spark", "DECIMAL", "DECIMAL(10, 0)"),
        ("spark", "TIMESTAMP_NTZ", "TIMESTAMP"),
        ("duckdb", "anything", "anything"),
    ],
)
def test_types(adapter: str, declared: str, duckdb: str) -> None:
    assert to_duckdb_type(declared, adapter) == duckdb


@pytest.mark.parametrize(
    ("adapter", "declared", "words"),
    [
        ("postgres", "numeric", "precision"),
        ("postgres", "char(3)", "blanks"),
        ("postgres", "jsonb", "JSON"),
        ("postgres", "timestamp(3)", "rounds"),
        ("postgres", "int4[]", "no equal"),
        ("postgres", "numeric(50, 2)", "38"),
        ("postgres", "no such ((type", "no type"),
        ("snowflake", "TIMESTAMP", "parameters"),
        ("snowflake", "TIMESTAMP_TZ", "offset"),
        ("snowflake", "VARIANT", "no type"),
        ("bigquery", "BIGNUMERIC", "76 digits"),
        ("bigquery", "ARRAY<INT64>", "no equal"),
        ("bigquery", "STRUCT<a INT64>", "no equal"),
        ("spark", "FLOAT", "other steps"),
        ("spark", "MAP<STRING, INT>", "no equal"),
    ],
)
def test_refused_types(adapter: str, declared: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words) as refusal:
        to_duckdb_type(declared, adapter)
    assert refusal.value.remedy
