"""What statements become is what the fixtures hold, binds in DuckDB and compiles; what has no equal is refused."""

from __future__ import annotations

import pytest

from realtime.dialects.translate import DIALECTS, to_duckdb, to_duckdb_type
from realtime.errors import RefusedError
from realtime.project.binder import Binder
from realtime.transpile.form import render
from realtime.transpile.transpile import transpile
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


@pytest.mark.parametrize(
    ("adapter", "declared", "duckdb"),
    [
        ("postgres", "character varying(20)", "VARCHAR"),
        ("postgres", "int8", "BIGINT"),
        ("postgres", "numeric(12,2)", "DECIMAL(12, 2)"),
        ("postgres", "timestamp without time zone", "TIMESTAMP"),
        ("postgres", "timestamp with time zone", "TIMESTAMPTZ"),
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
    ],
)
def test_refused_types(adapter: str, declared: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words) as refusal:
        to_duckdb_type(declared, adapter)
    assert refusal.value.remedy
