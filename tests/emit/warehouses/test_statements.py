"""Every statement in tests/fixtures/warehouses: its text for the warehouse and, for PostgreSQL, its answer there.

`python -m tests.emit.warehouses.rewrite` writes the texts that are emitted now; read the diff.
"""

from __future__ import annotations

import duckdb
import pytest

from realtime.emit.warehouses.postgres import POSTGRES
from realtime.emit.warehouses.translate import WAREHOUSES, translate
from realtime.errors import RefusedError
from realtime.planner.ir import Column
from realtime.project.binder import Binder
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
        assert types == [servers.type_name(POSTGRES.type(kind)) for _, kind in columns]
        servers.check(case.sql, wanted, found)
