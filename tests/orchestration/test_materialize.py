"""All assets made from Dagster, headlessly: real dbt on DuckDB and ClickHouse, real deploy, export and parity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from orchestration.keys import lake_key, realtime_key, source_key, state_key
from realtime.clickhouse.client import ClickHouse

ORDERS: list[list[Any]] = [
    [1, "Ada", 2, datetime(2024, 3, 1, 8, tzinfo=UTC)],
    [2, "Bo", 1, datetime(2024, 3, 1, 9, 30, tzinfo=UTC)],
    [3, "Ada", 1, datetime(2024, 3, 2, 8, 5, tzinfo=UTC)],
    [4, "Bo", 0, datetime(2024, 3, 2, 9, tzinfo=UTC)],
]
MODELS = ("customers", "order_sizes", "stg_orders")
CHECKS = (
    "batch/customers:not_null_customers_customer",
    "batch/customers:unique_customers_customer",
    "batch/open_days:not_null_open_days_day",
    "batch/order_sizes:unique_order_sizes_loaves",
    "lake/till/orders:source_not_null_till_orders_order_id",
    "realtime/customers:not_null_customers_customer",
    "realtime/customers:parity",
    "realtime/customers:unique_customers_customer",
    "realtime/order_sizes:parity",
    "realtime/order_sizes:unique_order_sizes_loaves",
    "realtime/stg_orders:parity",
)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Where Dagster keeps the runs of one test."""
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def test_what_is_not_deployed_is_not_built(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    with pytest.raises(dg.Failure) as failure:
        _run(definitions, instance, assets=[realtime_key(model) for model in MODELS])
    assert "bakery is not deployed" in str(failure.value.description)
    assert "duet deploy" in str(failure.value.description)


def test_everything_then_a_planted_difference(
    definitions: dg.Definitions, clickhouse: ClickHouse, instance: dg.DagsterInstance
) -> None:
    _run(definitions, instance, assets=[source_key("till.orders"), state_key("customers"), state_key("order_sizes")])
    clickhouse.insert("bakery_raw.till__orders", ["order_id", "customer", "loaves", "ordered_at"], ORDERS)

    whole = definitions.resolve_job_def("everything").execute_in_process(instance=instance)
    made = {event.asset_key for event in whole.get_asset_materialization_events()}
    assert made == definitions.resolve_asset_graph().materializable_asset_keys
    [lake] = whole.asset_materializations_for_node("export")
    assert (lake.asset_key, lake.metadata["rows"].value) == (lake_key("till.orders"), 4)
    assert _checks(whole) == dict.fromkeys(CHECKS, True)
    assert clickhouse.rows("SELECT customer, orders, loaves FROM bakery.customers ORDER BY customer") == [
        {"customer": "Ada", "orders": 2, "loaves": 3},
        {"customer": "Bo", "orders": 1, "loaves": 1},
    ]

    wrong = "SELECT 'Eve' AS customer, toInt64(1) AS orders, toInt128(1) AS loaves"
    clickhouse.execute(f"CREATE OR REPLACE VIEW bakery.customers AS {wrong}")
    compared = _run(definitions, instance, checks=[dg.AssetCheckKey(realtime_key("customers"), "parity")])
    [evaluation] = compared.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.ERROR
    assert {name: evaluation.metadata[name].value for name in ("rows_batch", "rows_realtime", "differing")} == {
        "rows_batch": 2,
        "rows_realtime": 1,
        "differing": 3,
    }
    assert "Eve" in str(evaluation.metadata["examples"].value)

    clickhouse.insert("bakery_raw.till__orders", ["order_id", "customer", "loaves", "ordered_at"], ORDERS[:1])
    wrong_still, sizes = _run(
        definitions,
        instance,
        checks=[dg.AssetCheckKey(realtime_key(model), "parity") for model in ("customers", "order_sizes")],
    ).get_asset_check_evaluations()
    assert wrong_still.metadata["differing"].value == 3
    assert sizes.passed
    assert {name: sizes.metadata[name].value for name in ("arrived", "changed", "left_out")} == {
        "arrived": 1,
        "changed": 1,
        "left_out": 0,
    }
    assert "1 rows came since" in str(sizes.description)


def _run(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    *,
    assets: Sequence[dg.AssetKey] = (),
    checks: Sequence[dg.AssetCheckKey] = (),
) -> dg.ExecuteInProcessResult:
    """Runs some assets or checks alone, as the UI does."""
    job = definitions.resolve_implicit_global_asset_job_def()
    part = job.get_subset(asset_selection=frozenset(assets), asset_check_selection=frozenset(checks))
    return part.execute_in_process(instance=instance)


def _checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {f"{e.asset_key.to_user_string()}:{e.check_name}": e.passed for e in result.get_asset_check_evaluations()}
