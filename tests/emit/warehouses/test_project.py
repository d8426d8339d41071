"""What is emitted beside the models' SQL: files, docs, tests, refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import duckdb
import pytest
import yaml

from realtime.cache import Cache
from realtime.commands.target import accepted
from realtime.compile import compile_for
from realtime.emit.warehouses import project as projects
from realtime.emit.warehouses.postgres import POSTGRES
from realtime.emit.warehouses.project import emit, find_warehouse
from realtime.emit.warehouses.snowflake import SNOWFLAKE
from realtime.emit.warehouses.warehouse import Warehouse
from realtime.errors import CommandError, ConfigError, NotCompiledError, RefusedError
from realtime.project.dbt import run_dbt
from realtime.project.manifest import Project, read_manifest
from realtime.settings import Settings
from tests.emit.warehouses import servers
from tests.postgres import Postgres

FILES = {
    "dbt_project.yml": "{name: bakery, profile: bakery, flags: {send_anonymous_usage_stats: false}}",
    "profiles.yml": "bakery: {target: dev, outputs: {dev: {type: duckdb, path: bakery.duckdb}}}",
    "models/sources.yml": """
sources:
  - name: till
    tables:
      - name: orders
        description: One row per order, as {{ doc('till') }} sends it.
        columns:
          - {name: id, data_type: bigint, description: The order., data_tests: [unique, not_null]}
          - {name: Customer, data_type: varchar}
          - {name: loaves, data_type: integer, data_tests: [{not_null: {config: {severity: warn}}}]}
          - {name: note, data_type: json}
""",
    "models/docs.md": "{% docs till %}the {{ '{{' }}till{{ '}}' }}{% enddocs %}",
    "models/orders.sql": """
{{ config(materialized='view') }}
select id, Customer, loaves from {{ source('till', 'orders') }}
""",
    "models/large.sql": "{{ config(materialized='ephemeral') }} select * from {{ ref('orders') }} where loaves > 1",
    "models/customers.sql": """
{{ config(materialized='incremental') }}
select Customer, count(*) as orders, sum(loaves) as "All Loaves" from {{ ref('large') }} group by Customer
{% if is_incremental() %} having count(*) > 99 {% endif %}
""",
    "models/models.yml": """
models:
  - name: orders
    description: One row per order.
    columns:
      - name: Customer
        data_tests:
          - relationships: {arguments: {to: "source('till', 'orders')", field: Customer}}
          - accepted_values: {arguments: {values: [ann, bob]}, config: {where: loaves > 0}}
  - name: customers
    columns:
      - {name: Customer, data_tests: [unique]}
      - {name: All Loaves, data_tests: [positive]}
""",
    "macros/positive.sql": """
{% test positive(model, column_name) %} select * from {{ model }} where "{{ column_name }}" <= 0 {% endtest %}
""",
    "tests/by_chance.sql": "select * from {{ ref('customers') }} where random() > 1",
}
REFUSED = {
    "models/lists.sql": "select\n  id,\n  [loaves] as xs\nfrom {{ ref('orders') }}",
    "models/notes.sql": "select note from {{ source('till', 'orders') }}",
    "models/fine.sql": "select 1 as one from {{ ref('notes') }}",
    "models/unknown.sql": "select nothing from {{ ref('orders') }}",
    "models/beyond.sql": "select id from {{ ref('unknown') }}",
    "models/seeded.sql": "select * from {{ ref('kinds') }}",
    "seeds/kinds.csv": "kind\na\n",
}


def _write(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@pytest.fixture(scope="module")
def bakery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with mixed case, an ephemeral and an incremental model, and tests of every kind."""
    folder = _write(tmp_path_factory.mktemp("bakery"), FILES)
    run_dbt(["compile", "--full-refresh"], folder, folder)
    return folder


@pytest.fixture(scope="module")
def project(bakery: Path) -> Project:
    return read_manifest(bakery / "target" / "manifest.json")


@pytest.mark.parametrize("warehouse", [POSTGRES, SNOWFLAKE], ids=lambda w: w.name)
def test_the_same_to_the_byte(project: Project, warehouse: Warehouse) -> None:
    first, second = (emit(project, find_warehouse(warehouse.name)) for _ in range(2))
    assert first.files == second.files
    assert list(first.files) == list(second.files)


def test_the_same_with_and_without_a_cache(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, file = emit(project, POSTGRES), tmp_path / "cache"
    orders = project.models["model.bakery.orders"]
    edited = dataclasses.replace(orders, sql=orders.sql.replace("loaves", "loaves + 1 as loaves"))
    other = dataclasses.replace(project, models={**project.models, orders.unique_id: edited})
    for given in (project, other, project):
        cache = Cache(file)
        assert str(emit(given, POSTGRES, cache)) == str(emit(given, POSTGRES))
        cache.save()
    monkeypatch.setattr(projects, "translate", _only_what_is_refused)
    assert emit(project, POSTGRES, Cache(file)).files == expected.files


def _only_what_is_refused(*_: object) -> None:
    raise RefusedError("a test, for nothing else is left to be translated")


def test_docs_types_and_tests_are_carried(project: Project) -> None:
    files = emit(project, SNOWFLAKE).files
    (source,) = yaml.safe_load(files["models/_sources.yml"])["sources"]
    (orders,) = source["tables"]
    assert orders["description"] == "One row per order, as the {{ '{' }}{till}} sends it."
    assert orders["columns"][0]["data_tests"] == ["not_null", "unique"]
    assert orders["columns"][2]["data_tests"] == [{"not_null": {"config": {"severity": "warn"}}}]
    (model,) = yaml.safe_load(files["models/orders.yml"])["models"]
    assert model["columns"][1] == {
        "name": "Customer", "quote": True, "data_type": "VARCHAR",
        "data_tests": [{"relationships": {"arguments": {"field": '"Customer"', "to": "source('till', 'orders')"}}}],
    }  # fmt: skip
    assert yaml.safe_load(files["models/customers.yml"])["models"][0]["config"] == {"materialized": "table"}
    assert not any("large" in path for path in files)


def test_tests_that_have_no_form_are_named(project: Project) -> None:
    emitted = emit(project, POSTGRES)
    (left_out,) = emitted.left_out
    assert left_out.place.startswith("tests/by_chance.sql")
    assert sorted(p for p in emitted.files if p.startswith("tests/")) == [
        "tests/accepted_values_orders_Customer__ann__bob.sql",
        "tests/positive_customers_All_Loaves.sql",
    ]


def test_tests_find_what_is_wrong(bakery: Path, postgres: Postgres) -> None:
    emitted = compile_for(Settings.load(bakery, {}), "postgres")
    assert accepted(emitted) is emitted
    with duckdb.connect(":memory:") as connection:
        connection.execute("""CREATE SCHEMA till; CREATE TABLE till.orders AS
            SELECT i::BIGINT AS id, ['ann', 'bob'][i % 2 + 1] AS "Customer", i::INTEGER AS loaves FROM range(9) t(i)""")
        postgres.execute("CREATE DATABASE bakery")
        servers.copy_table(connection, postgres, "till.orders", "bakery")
    environment = {
        "DUET_POSTGRES_HOST": str(postgres.folder),
        "DUET_POSTGRES_USER": postgres.user,
        "DUET_POSTGRES_DATABASE": "bakery",
    }
    target = bakery / "target" / "postgres"
    run_dbt(["build"], target, target, environment=environment)
    assert (
        postgres.execute('SELECT * FROM customers ORDER BY "Customer" COLLATE "C"', "bakery")
        == "ann\t4\t20\nbob\t3\t15\n"
    )
    postgres.execute("INSERT INTO till.orders VALUES (1, 'cid', 5), (2, 'dee', -7)", "bakery")
    with pytest.raises(CommandError) as failed:
        run_dbt(["test"], target, target, environment=environment)
    for name in ("source_unique_till_orders_id", "accepted_values_orders_Customer"):
        assert name in str(failed.value)


def test_every_refusal_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    folder = _write(tmp_path, {**FILES, **REFUSED})
    emitted = compile_for(Settings.load(folder, {}), "postgres")
    found = {str(r).split(": ", 1)[0]: str(r) for r in emitted.refusals}
    assert set(found) == {
        "models/lists.sql:3:4", "models/notes.sql:1:8", "models/unknown.sql:1", "models/beyond.sql",
        "models/seeded.sql", "models/fine.sql", "seeds/kinds.csv",
    }  # fmt: skip
    assert "waits for models/unknown.sql" in found["models/beyond.sql"]
    assert "waits for seeds/kinds.csv" in found["models/seeded.sql"]
    assert "waits for models/notes.sql" in found["models/fine.sql"]
    assert "type JSON has no exact form in PostgreSQL" in found["models/notes.sql:1:8"]
    assert not (folder / "target" / "postgres").exists()
    with pytest.raises(NotCompiledError, match="4 refused and 3 waiting"):
        accepted(emitted)


def test_an_unknown_target_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"use clickhouse, postgres or snowflake"):
        find_warehouse("oracle")
