"""All assets made from Dagster, headlessly: real dbt on DuckDB and ClickHouse, real deploy, export and parity."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orchestration.definitions import collect
from orchestration.keys import lake_key, realtime_key, source_key, state_key
from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.settings import Settings
from tests.orchestration.conftest import write

ORDERS: list[list[Any]] = [
    [1, "Ada", 2, "2024-03-01 08:00:00"],
    [2, "Bo", 1, "2024-03-01 09:30:00"],
    [3, "Ada", 1, "2024-03-02 08:05:00"],
    [4, "Bo", 0, "2024-03-02 09:00:00"],
]


@pytest.fixture
def bakery(tmp_path: Path, endpoint: Endpoint, database: str) -> Settings:
    """The project, with a database of its own."""
    return Settings.load(write(tmp_path), {"CLICKHOUSE_URL": f"{endpoint.url}/{database}"})


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Where Dagster keeps the runs of one test."""
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def test_everything_then_a_planted_difference(
    bakery: Settings, database: str, clickhouse: ClickHouse, instance: dg.DagsterInstance
) -> None:
    definitions = collect(bakery)
    deployed = _run(definitions, "deploy", instance, assets={source_key("till.orders"), *_states()})
    assert deployed.asset_materializations_for_node("deploy")
    for order in ORDERS:
        values = "{a:Int64}, {b:String}, {c:Int64}, {d:DateTime64(6, 'UTC')}"
        clickhouse.execute(
            f"INSERT INTO {database}_raw.till__orders (order_id, customer, loaves, ordered_at) SELECT {values}",
            dict(zip("abcd", order, strict=True)),
        )

    whole = _run(definitions, "everything", instance)
    made = {event.asset_key for event in whole.get_asset_materialization_events()}
    assert made == definitions.resolve_asset_graph().materializable_asset_keys
    rows = {m.asset_key: m.metadata["rows"].value for m in whole.asset_materializations_for_node("export")}
    assert rows == {lake_key("till.orders"): 4}
    checks = _checks(whole)
    assert checks == dict.fromkeys(checks, True)
    assert {name for name in checks if name.endswith(":parity")} == {
        "realtime/customers:parity",
        "realtime/order_sizes:parity",
        "realtime/stg_orders:parity",
    }
    assert "realtime/customers:unique_customers_customer" in checks
    assert clickhouse.rows(f"SELECT customer, orders, loaves FROM {database}.customers ORDER BY customer") == [
        {"customer": "Ada", "orders": 2, "loaves": 3},
        {"customer": "Bo", "orders": 1, "loaves": 1},
    ]

    clickhouse.execute(
        f"CREATE OR REPLACE VIEW {database}.customers AS SELECT 'Eve' AS customer, 1 AS orders, 1 AS loaves"
    )
    compared = _run(definitions, "parity", instance, checks={dg.AssetCheckKey(realtime_key("customers"), "parity")})
    [evaluation] = compared.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.ERROR
    assert evaluation.metadata["rows_batch"].value == 2
    assert evaluation.metadata["rows_realtime"].value == 1
    assert evaluation.metadata["differing"].value == 3


def test_what_is_not_deployed_is_not_built(bakery: Settings, instance: dg.DagsterInstance) -> None:
    models = {realtime_key(model) for model in ("customers", "order_sizes", "stg_orders")}
    with pytest.raises(dg.Failure) as failure:
        _run(collect(bakery), "realtime", instance, assets=models)
    assert "is not deployed" in str(failure.value.description)
    assert "duet deploy" in str(failure.value.description)


def _states() -> set[dg.AssetKey]:
    return {state_key("customers"), state_key("order_sizes")}


def _run(
    definitions: dg.Definitions,
    job: str,
    instance: dg.DagsterInstance,
    *,
    assets: set[dg.AssetKey] | None = None,
    checks: set[dg.AssetCheckKey] | None = None,
) -> dg.ExecuteInProcessResult:
    """Runs a job of the location, or some assets or checks as its UI does."""
    if assets is None and checks is None:
        return definitions.resolve_job_def(job).execute_in_process(instance=instance)
    part = definitions.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=frozenset(assets or ()), asset_check_selection=frozenset(checks or ())
    )
    return part.execute_in_process(instance=instance)


def _checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {f"{e.asset_key.to_user_string()}:{e.check_name}": e.passed for e in result.get_asset_check_evaluations()}
