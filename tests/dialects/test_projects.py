"""Whole projects of each dialect: in ClickHouse as in DuckDB and, for Postgres's, as in Postgres itself."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pytest
import yaml
from sqlglot import exp

from realtime.clickhouse.client import ClickHouse
from realtime.dialects.translate import DIALECTS, source_in_duckdb, to_duckdb
from realtime.project.binder import Binder
from realtime.project.manifest import Project, read_manifest
from tests.dialects.answers import both
from tests.planner.small import Deployed, counted, ordered, planned
from tests.postgres import Postgres

FOLDER = Path(__file__).parent / "projects"
_DATABASE, _SCHEMA = "warehouse", "analytics"
# How dbt writes a relation for each adapter.
_RELATION = {
    "postgres": '"{d}"."{s}"."{n}"',
    "snowflake": "{d}.{s}.{n}",
    "bigquery": "`{d}`.`{s}`.`{n}`",
    "spark": "{d}.{s}.{n}",
}
ROWS: dict[str, list[dict[str, Any]]] = {
    "app.orders": [
        {
            "id": i,
            "customer": "abc"[i % 3],
            "status": [None, "PAID", "Open", "PAID", "ÄÖ"][i % 5],
            "amount": None if i == 7 else Decimal(i * 37 % 1000) / 100 - 3,
            "quantity": None if i == 5 else i % 4 * (-1) ** i,
            "weight": None if i == 9 else i / 8,
            "ordered_at": datetime.datetime(2024, 1 + i % 3, 28) + datetime.timedelta(hours=7 * i, microseconds=i),
        }
        for i in range(1, 40)
    ],
    "app.customers": [
        {"id": "a", "name": "Ann", "version": 1, "since": datetime.date(2023, 1, 31)},
        {"id": "b", "name": None, "version": 1, "since": datetime.date(2024, 2, 29)},
        {"id": "d", "name": "日本", "version": 4, "since": None},
    ],
}


def _manifest(adapter: str) -> dict[str, Any]:
    """What `dbt compile` would leave of the project."""
    sources = yaml.safe_load((FOLDER / adapter / "sources.yml").read_text())
    nodes = [_node(adapter, path) for path in sorted((FOLDER / adapter).glob("*.sql"))]
    nodes += [_not_null(name, column) for name, declared in sources.items() for column in declared["not_null"]]
    return {
        "metadata": {"project_name": "shop", "adapter_type": adapter},
        "sources": {f"source.shop.app.{name}": _source(name, declared) for name, declared in sources.items()},
        "nodes": {node["unique_id"]: node for node in nodes},
    }


def _source(name: str, declared: dict[str, Any]) -> dict[str, Any]:
    columns = {c: {"name": c, "data_type": t} for c, t in declared["columns"].items()}
    return {
        "unique_id": f"source.shop.app.{name}",
        "source_name": "app",
        "name": name,
        "schema": "app",
        "database": _DATABASE,
        "columns": columns,
        "original_file_path": "models/sources.yml",
        "config": {"meta": {"realtime": declared["realtime"]}},
    }


def _not_null(name: str, column: str) -> dict[str, Any]:
    source = f"source.shop.app.{name}"
    kwargs = {"column_name": column, "model": f"{{{{ get_where_subquery(source('app', '{name}')) }}}}"}
    return {
        "unique_id": f"test.shop.{name}_{column}",
        "resource_type": "test",
        "name": f"not_null_{name}_{column}",
        "column_name": column,
        "test_metadata": {"name": "not_null", "kwargs": kwargs},
        "depends_on": {"nodes": [source]},
        "config": {"enabled": True, "severity": "ERROR"},
        "columns": {},
        "original_file_path": "models/sources.yml",
    }


def _node(adapter: str, path: Path) -> dict[str, Any]:
    reads: list[str] = []

    def relation(unique_id: str, schema: str, name: str) -> str:
        reads.append(unique_id)
        return _RELATION[adapter].format(d=_DATABASE, s=schema, n=name)

    sql = jinja2.Template(path.read_text()).render(
        ref=lambda name: relation(f"model.shop.{name}", _SCHEMA, name),
        source=lambda name: relation(f"source.shop.app.{name}", "app", name),
    )
    name, *kind = path.stem.split(".")
    return {
        "unique_id": f"{'analysis' if kind else 'model'}.shop.{name}",
        "resource_type": "analysis" if kind else "model",
        "name": name,
        "schema": _SCHEMA,
        "database": _DATABASE,
        "compiled_code": sql,
        "raw_code": path.read_text(),
        "original_file_path": f"models/{path.name}",
        "columns": {},
        "depends_on": {"nodes": reads},
        "config": {"enabled": True, "meta": {"lambda": {}} if kind else {"realtime": True}},
    }


def _in_duckdb(built: Project) -> duckdb.DuckDBPyConnection:
    """The project translated, on the rows."""
    binder, connection = Binder(), duckdb.connect(":memory:")
    connection.execute(f"SET TimeZone = 'UTC'; ATTACH ':memory:' AS {_DATABASE}")
    connection.execute(f"CREATE SCHEMA {_DATABASE}.app; CREATE SCHEMA {_DATABASE}.{_SCHEMA}")
    for authored in built.sources.values():
        source = source_in_duckdb(authored, built.adapter)
        binder.add_table(source.relation, source.typed_columns())
        columns = ", ".join(f'"{n}" {t}' for n, t in source.columns.items())
        connection.execute(f"CREATE TABLE {source.relation.sql('duckdb')} ({columns})")
        rows = [[row[c] for c in source.columns] for row in ROWS[source.name]]
        marks = ", ".join("?" for _ in source.columns)
        connection.executemany(f"INSERT INTO {source.relation.sql('duckdb')} VALUES ({marks})", rows)
    for model in ordered(built):
        sql = to_duckdb(model.sql, built.adapter, binder).sql("duckdb")
        binder.add_view(model.relation, sql)
        connection.execute(f"CREATE VIEW {model.relation.sql('duckdb')} AS {sql}")
    return connection


def _read(tmp_path: Path, adapter: str) -> Project:
    file = tmp_path / "target" / "manifest.json"
    file.parent.mkdir()
    file.write_text(json.dumps(_manifest(adapter)))
    return read_manifest(file)


@pytest.mark.parametrize("adapter", DIALECTS)
def test_clickhouse_and_duckdb_answer_the_same(
    adapter: str, tmp_path: Path, clickhouse: ClickHouse, database: str
) -> None:
    built = _read(tmp_path, adapter)
    plan = planned(built, database)
    deployed = Deployed(plan, clickhouse)
    deployed.insert(ROWS, seed=7)
    connection = _in_duckdb(built)
    assert len(plan.steps) == 4
    for step in plan.steps:
        relation = connection.sql(f"SELECT * FROM {_DATABASE}.{_SCHEMA}.{step.model}")
        rows = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
        assert rows
        assert deployed.read(step) == counted(rows), f"{step}\n{step.select}"
    (query,) = plan.lambdas
    assert clickhouse.rows(query.select, {"status": "PAID" if adapter != "postgres" else "paid"})


def test_postgres_and_duckdb_answer_the_same(tmp_path: Path, postgres: Postgres) -> None:
    built = _read(tmp_path, "postgres")
    postgres.execute(f"CREATE DATABASE {_DATABASE};")
    warehouse = Postgres(postgres.folder, database=_DATABASE)
    warehouse.execute(f"CREATE SCHEMA app; CREATE SCHEMA {_SCHEMA};")
    for source in built.sources.values():
        name = exp.table_(source.relation.name, db="app", quoted=True).sql("postgres")
        columns = ", ".join(f'"{n}" {t}' for n, t in source.columns.items())
        warehouse.execute(f"CREATE TABLE {name} ({columns});")
        rows = json.dumps(ROWS[source.name], default=str, ensure_ascii=False).replace("'", "''")
        warehouse.execute(f"INSERT INTO {name} SELECT * FROM json_populate_recordset(NULL::{name}, '{rows}');")
    connection = _in_duckdb(built)
    for model in ordered(built):
        warehouse.execute(f"CREATE VIEW {_SCHEMA}.{model.name} AS\n{model.sql};")
        query = f"SELECT * FROM {_SCHEMA}.{model.name}"
        given, wanted = both(connection, f"SELECT * FROM {_DATABASE}.{_SCHEMA}.{model.name}", warehouse, query)
        assert given == wanted
