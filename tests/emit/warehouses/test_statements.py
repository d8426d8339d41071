"""Every statement in tests/fixtures/warehouses: its text for the warehouse and, for PostgreSQL, its answer there.

`python -m tests.emit.warehouses.rewrite` writes the texts that are emitted now; read the diff.
"""

from __future__ import annotations

import duckdb
import pytest
import sqlglot

from realtime.emit.warehouses.postgres import POSTGRES
from realtime.emit.warehouses.translate import WAREHOUSES, translate
from realtime.errors import RefusedError
from realtime.planner.ir import Column
from realtime.project.binder import Binder
from realtime.transpile.annotate import is_aggregate
from tests.emit.warehouses import servers
from tests.emit.warehouses.conftest import Both
from tests.transpile import engines
from tests.transpile.cases import FIXTURES, Case, read, read_file
from tests.transpile.rewrite import message

CASES = read("warehouses")
REFUSED = read("warehouses/refused")
ANSWERED = read_file(FIXTURES / "warehouses" / "postgres.sql")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_text(case: Case, binder: Binder) -> None:
    warehouse = WAREHOUSES[case.path.stem]
    assert servers.text_of(translate(case.sql, binder, warehouse).tree, warehouse) + ";" == case.expected


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refusal(case: Case, binder: Binder) -> None:
    with pytest.raises(RefusedError) as refusal:
        translate(case.sql, binder, WAREHOUSES[case.path.stem])
    assert message(refusal.value) == case.expected


@pytest.mark.parametrize("case", ANSWERED, ids=str)
def test_answer(case: Case, binder: Binder, both: list[Both]) -> None:
    translated = translate(case.sql, binder, POSTGRES)
    columns = translated.columns
    sql = servers.text_of(translated.tree, POSTGRES)
    for each in both[:1] if case.fails else both:
        if case.fails:
            with pytest.raises(duckdb.Error):
                each.duckdb.execute(case.sql).fetchall()
            with pytest.raises(AssertionError, match="ERROR"):
                servers.ask(each.postgres, each.schema, sql, columns)
            continue
        described = [Column(name, kind.name, "") for name, kind in columns]
        wanted = engines.ask_duckdb(each.duckdb, case.sql, {}, described)
        types, found = servers.ask(each.postgres, each.schema, sql, columns)
        assert types == [_bare(POSTGRES.type(kind)) for _, kind in columns]
        _check(case, wanted, found)


def _bare(name: str) -> str:
    """A type's name as PostgreSQL prints it."""
    plain = name.partition("(")[0]
    zones = {"timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone"}
    return {**zones, "time": "time without time zone"}.get(plain, plain)


def _check(case: Case, wanted: list[engines.Row], found: list[engines.Row]) -> None:
    tree = sqlglot.parse_one(case.sql, read="duckdb")
    tolerance = 1e-12 if any(is_aggregate(n) for n in tree.walk()) else 0.0
    if tree.args.get("order") is None:
        wanted, found = (engines.in_any_order(rows, exact=not tolerance) for rows in (wanted, found))
    different = [(a, b) for a, b in zip(wanted, found, strict=False) if not engines.same(a, b, tolerance)]
    assert not different, f"DuckDB, PostgreSQL: {different[0]}"
    assert len(wanted) == len(found)
