"""`duet test` on a real project, dbt-duckdb, dbt-clickhouse and ClickHouse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from realtime import show
from realtime.deploy.promote import rendered
from realtime.errors import NotFoundError
from realtime.ingest.lake import open_batch
from realtime.testing.verdict import Judged, Status
from tests.testing.conftest import ORDERS, Shop, insert

PASS, WARN, FAIL, NONE = "pass", "warn", "fail", "not applicable"
SIDES = {
    # data tests: batch, real time
    "accepted_values_stg_orders_status__paid__open": (PASS, PASS, NONE),
    "has_address": (PASS, PASS, NONE),
    "known_status": (PASS, PASS, NONE),
    "not_null_stg_orders_amount": (WARN, WARN, NONE),
    "not_null_stg_orders_order_id": (PASS, PASS, NONE),
    "not_null_totals_customer": (FAIL, FAIL, NONE),
    "orders_add_up": (PASS, PASS, NONE),
    "random_totals": (PASS, NONE, NONE),
    "relationships_last_orders_customer__customer__ref_totals_": (PASS, PASS, NONE),
    "source_not_null_shop_orders_order_id": (PASS, PASS, NONE),
    "source_unique_shop_people_name": (PASS, PASS, NONE),
    "unique_report_customer": (PASS, NONE, NONE),
    "unique_stg_orders_order_id": (PASS, PASS, NONE),
    "unique_totals_customer": (PASS, PASS, NONE),
    # unit tests: batch, the compiled SELECT, through materialized views
    "days_before_the_last_stay": (PASS, NONE, NONE),
    "dear_is_a_variable": (PASS, PASS, PASS),
    "macros_can_be_others": (PASS, PASS, PASS),
    "names_are_trimmed": (PASS, PASS, PASS),
    "newest_order_wins": (PASS, PASS, PASS),
    "no_orders": (PASS, PASS, PASS),
    "orders_are_counted": (PASS, PASS, PASS),
    "places": (PASS, PASS, PASS),
    "report_keeps_customers": (PASS, NONE, NONE),
    "wrong_on_purpose": (FAIL, FAIL, FAIL),
}


@pytest.fixture(scope="module")
def found(shop: Shop) -> dict[str, Judged]:
    """Every test of the project."""
    records = shop.test()
    total = shop.steps[-1][1]
    assert (shop.steps[0], shop.steps[-1]) == ((0, total), (total, total))
    return records


def _sides(record: Judged) -> tuple[str, str, str]:
    return str(record.batch.status), str(record.realtime.status), str(record.views.status)


def test_every_test_on_every_side(shop: Shop, found: dict[str, Judged]) -> None:
    assert {name: _sides(record) for name, record in found.items()} == SIDES
    assert [name for name, record in found.items() if record.disagreement] == []
    assert {name for name, r in found.items() if r.failed} == {"not_null_totals_customer", "wrong_on_purpose"}
    assert shop.temporary() == []


def test_reasons_for_what_is_not_run(found: dict[str, Judged]) -> None:
    reasons = {name: r.realtime.reason for name, r in found.items() if r.realtime.status is Status.NOT_APPLICABLE}
    assert "it depends on chance" in reasons["random_totals"]
    assert reasons["unique_report_customer"] == "reads report, which ClickHouse does not keep"
    assert "what earlier batch runs left" in reasons["days_before_the_last_stay"]
    assert reasons["report_keeps_customers"] == "the model is not kept in real time"


def test_failing_unit_test_shows_the_rows(found: dict[str, Judged], capsys: pytest.CaptureFixture[str]) -> None:
    wrong = found["wrong_on_purpose"]
    assert "2.01→2.00" in wrong.batch.reason
    for verdict in (wrong.realtime, wrong.views):
        assert verdict.failures == 2
        rows = {(e.side, e.row["customer"], e.row["revenue"]) for e in verdict.examples}
        assert rows == {("expected", "日本", "2.01"), ("actual", "日本", "2.00")}
    show.tests(list(found.values()))
    shown = capsys.readouterr().out
    assert "only in expected: customer=日本, revenue=2.01" in shown
    assert f"{len(SIDES)} tests, 2 failed" in shown


def test_version_that_is_not_deployed_and_model_that_is_not_built(shop: Shop) -> None:
    with open_batch(shop.settings.project_dir / "warehouse.duckdb") as connection:
        connection.execute("DROP VIEW last_orders")
    other = Shop(shop.settings, shop.client, msgspec.structs.replace(shop.plan, lambdas=(), tests=()))
    records = other.test("last_orders")
    assert set(records) == {
        "has_address",
        "relationships_last_orders_customer__customer__ref_totals_",
        "newest_order_wins",
    }
    assert records["has_address"].realtime.reason.endswith("run duet deploy")
    assert _sides(records["newest_order_wins"]) == (PASS, PASS, PASS)
    assert records["has_address"].batch.reason == "last_orders: not in the batch database yet: run duet batch"
    with pytest.raises(NotFoundError, match="no model orderz"):
        shop.test("orderz")


@pytest.fixture
def altered(shop: Shop) -> Iterator[Shop]:
    """The shop with a read view that leaves out a row, as if a compiled condition were wrong."""
    (step,) = (s for s in shop.plan.steps if s.model == "totals")
    select = rendered(step, shop.plan.database, shop.plan.database)
    view = f"CREATE OR REPLACE VIEW {step.relation} AS "
    shop.client.execute(f"{view} SELECT * FROM ({select}) WHERE customer IS NOT NULL")
    yield shop
    shop.client.execute(view + select)


def test_planted_difference_is_found(altered: Shop) -> None:
    insert(altered.client, "tested_shop_raw.shop__orders", [{**ORDERS[0], "order_id": 7}])
    env = {**os.environ, "CLICKHOUSE_URL": f"{altered.client.endpoint.url}/{altered.plan.database}"}
    command = [str(Path(sys.executable).with_name("duet")), "--project-dir", str(altered.settings.project_dir)]
    done = subprocess.run([*command, "test", "totals", "--json"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    records = {r["name"]: r for r in json.loads(done.stdout)}
    hidden = records["not_null_totals_customer"]
    assert hidden["realtime"]["reason"] == ""
    assert hidden["disagreement"] == (
        "batch: fail, real time: pass; "
        "1 row of shop.orders arrived since the last export: run duet export and duet batch"
    )
    assert records["unique_totals_customer"]["disagreement"] == ""
    # The altered view has too few orders; what is compiled has not.
    assert records["orders_add_up"]["disagreement"].startswith("batch: pass, real time: fail")
    assert records["orders_are_counted"]["views"]["status"] == PASS
