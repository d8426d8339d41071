"""The code location of a small project: what it shows, by value."""

from __future__ import annotations

import os
import time
from pathlib import Path

import dagster as dg
import pytest

from orchestration.definitions import collect
from orchestration.prepared import is_stale, prepare
from realtime.errors import ConfigError
from realtime.settings import Settings
from tests.orchestration.conftest import write

SNAPSHOT = """\
batch/bakers (bakery) <-
batch/customers (sales) <- batch/stg_orders [not_null_customers_customer, unique_customers_customer]
batch/open_days (planning) <- source/office/calendar [not_null_open_days_day]
batch/order_sizes (sales) <- batch/stg_orders [unique_order_sizes_loaves]
batch/stg_orders (sales) <- lake/till/orders
lake/till/orders (sales) <- source/till/orders [source_not_null_till_orders_order_id]
realtime/customers (sales) <- state/customers [not_null_customers_customer, parity, unique_customers_customer]
realtime/order_sizes (sales) <- state/order_sizes [parity, unique_order_sizes_loaves]
realtime/stg_orders (sales) <- source/till/orders [parity]
source/office/calendar (sales) <-
source/till/orders (sales) <-
state/customers (sales) <- source/till/orders
state/order_sizes (sales) <- source/till/orders
"""


def test_assets_lineage_and_checks(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)
    graph = definitions.resolve_asset_graph()
    lines = []
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        upstream = ", ".join(sorted(parent.to_user_string() for parent in node.parent_keys))
        checks = ", ".join(sorted(check.name for check in node.check_keys))
        shown = f"{key.to_user_string()} ({node.group_name}) <- {upstream}".rstrip()
        lines.append(shown + (f" [{checks}]" if checks else ""))
    assert "\n".join(lines) + "\n" == SNAPSHOT


def test_jobs_and_schedules(definitions: dg.Definitions) -> None:
    names = {job.name for job in definitions.get_repository_def().get_all_jobs()}
    assert names == {"__ASSET_JOB", "everything", "batch"}
    schedule = definitions.resolve_schedule_def("batch_hourly")
    assert (schedule.cron_schedule, schedule.job_name) == ("0 * * * *", "batch")
    batch = definitions.resolve_job_def("batch").asset_layer
    assert {key.to_user_string() for key in batch.executable_asset_keys} == {
        line.split()[0] for line in SNAPSHOT.splitlines() if line.startswith(("batch/", "lake/"))
    }


def test_only_what_nothing_makes_is_external(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    assert graph.external_asset_keys == {dg.AssetKey(["source", "office", "calendar"])}


def test_a_real_time_asset_tells_what_a_person_asks(definitions: dg.Definitions) -> None:
    node = definitions.resolve_asset_graph().get(dg.AssetKey(["realtime", "customers"]))
    assert node.description is not None
    assert node.description.startswith("One row per customer.\n\nKept as `aggregate`:")
    assert "```sql" in node.description
    assert "sumMerge" in node.description
    assert node.owners == ["team:sales"]
    assert node.kinds == {"dbt", "clickhouse"}
    assert {"daily", "duet/shape"} <= set(node.tags)
    columns = node.metadata["dagster/column_schema"].columns
    assert (columns[0].name, columns[0].type) == ("customer", "Nullable(String)")


def test_a_batch_asset_has_the_batch_engines_types(definitions: dg.Definitions) -> None:
    node = definitions.resolve_asset_graph().get(dg.AssetKey(["batch", "customers"]))
    columns = node.metadata["dagster/column_schema"].columns
    assert [(c.name, c.type) for c in columns] == [("customer", "VARCHAR"), ("orders", "BIGINT"), ("loaves", "HUGEINT")]
    assert columns[0].description == "Who ordered."
    assert node.kinds == {"dbt", "duckdb"}


def test_only_a_changed_project_is_compiled_again(bakery: Settings, definitions: dg.Definitions) -> None:
    plan = bakery.realtime_dir / "plan.json"
    before = plan.stat().st_mtime_ns
    prepare(bakery)
    assert plan.stat().st_mtime_ns == before
    new = bakery.project_dir / "macros"
    new.mkdir()
    os.utime(new, (time.time() + 5, time.time() + 5))
    assert is_stale(bakery)
    new.rmdir()
    assert not is_stale(bakery)
    elsewhere = {"CLICKHOUSE_URL": "http://localhost:8123/elsewhere"}
    assert is_stale(Settings.load(bakery.project_dir, elsewhere))


def test_a_folder_without_a_project_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no dbt project"):
        collect(Settings.load(tmp_path, {}))


def test_a_refused_model_is_named_with_the_way_out(tmp_path: Path) -> None:
    write(
        tmp_path, {"models/sales/marts/customers.sql": "select customer, random() as luck from {{ ref('stg_orders') }}"}
    )
    with pytest.raises(ConfigError, match=r"(?i)customers(.|\n)*random(.|\n)*duet compile"):
        collect(Settings.load(tmp_path, {}))
