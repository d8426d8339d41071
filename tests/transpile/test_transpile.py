"""Every statement in tests/fixtures/transpile: its ClickHouse text, and its answer in both engines.

`python -m tests.transpile.rewrite` writes the texts that the compiler gives now; read the diff.
"""

from __future__ import annotations

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from realtime.clickhouse.client import ClickHouse
from realtime.emit.readable import readable
from realtime.errors import CommandError
from realtime.project.binder import Binder
from realtime.transpile.annotate import is_aggregate
from realtime.transpile.passes.to_databases import to_databases
from realtime.transpile.rules import elementary
from realtime.transpile.settings import with_settings
from realtime.transpile.transpile import Compiled, transpile
from tests.transpile import engines
from tests.transpile.cases import Case, read
from tests.transpile.conftest import Loaded

CASES = read("transpile")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_text(case: Case, schema: Binder) -> None:
    compiled = transpile(case.sql, schema)
    assert readable(to_databases(compiled.tree)) + ";" == case.expected


@pytest.mark.parametrize("case", CASES, ids=str)
def test_answer(case: Case, schema: Binder, loaded: list[Loaded], clickhouse: ClickHouse) -> None:
    compiled = transpile(case.sql, schema)
    for tables in loaded:
        if case.fails:
            _check_failure(case, compiled, tables, clickhouse)
        else:
            _check_rows(case, compiled, tables, clickhouse)


def _clickhouse_sql(compiled: Compiled, database: str) -> str:
    return readable(with_settings(to_databases(compiled.tree.copy(), database)))


def _check_rows(case: Case, compiled: Compiled, tables: Loaded, clickhouse: ClickHouse) -> None:
    wanted = engines.ask_duckdb(tables.duckdb, case.sql, case.params, compiled.columns)
    found = engines.ask_clickhouse(
        clickhouse, _clickhouse_sql(compiled, tables.database), case.params, compiled.columns
    )
    tolerance = 1e-12 if any(_rounds(n) for n in sqlglot.parse_one(case.sql, read="duckdb").walk()) else 0.0
    if compiled.tree.args.get("order") is None:
        wanted, found = (engines.in_any_order(rows, exact=not tolerance) for rows in (wanted, found))
    different = [(a, b) for a, b in zip(wanted, found, strict=False) if not engines.same(a, b, tolerance)]
    assert not different, f"{tables.variant}: DuckDB, ClickHouse: {different[0]}"
    assert len(wanted) == len(found), f"{tables.variant}: {len(wanted)} rows in DuckDB, {len(found)} in ClickHouse"


def _rounds(node: exp.Expr) -> bool:
    """Whether floats may differ in the last bits: sums depend on the order of the rows, in DuckDB too."""
    return is_aggregate(node) or type(node) in elementary.RULES


def _check_failure(case: Case, compiled: Compiled, tables: Loaded, clickhouse: ClickHouse) -> None:
    if tables.variant != "rows":
        return
    with pytest.raises(duckdb.Error):
        engines.ask_duckdb(tables.duckdb, case.sql, case.params, compiled.columns)
    with pytest.raises(CommandError):
        engines.ask_clickhouse(clickhouse, _clickhouse_sql(compiled, tables.database), case.params, compiled.columns)
