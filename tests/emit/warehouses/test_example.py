"""The example project, emitted for PostgreSQL and run there by dbt-postgres: every model equals DuckDB's."""

from __future__ import annotations

from pathlib import Path

import duckdb

from realtime.compile import compile_for
from realtime.emit.warehouses.postgres import POSTGRES
from realtime.project.dbt import run_dbt
from realtime.project.manifest import Project, read_manifest
from realtime.settings import Settings
from realtime.transpile.types import duck_type
from tests.emit.warehouses import servers
from tests.postgres import Postgres
from tests.transpile import engines

DATABASE = "example"


def test_every_model_is_the_same(authored: Path, postgres: Postgres) -> None:
    emitted = compile_for(Settings.load(authored, {}), "postgres")
    assert (emitted.refusals, emitted.left_out) == ((), ())
    postgres.execute(f"CREATE DATABASE {DATABASE}")
    environment = {
        "DUET_POSTGRES_HOST": str(postgres.folder),
        "DUET_POSTGRES_USER": postgres.user,
        "DUET_POSTGRES_DATABASE": DATABASE,
        "DUET_POSTGRES_SCHEMA": "marts",
    }
    project = read_manifest(authored / "target" / "manifest.json")
    with duckdb.connect(str(authored / "warehouse.duckdb")) as connection:
        for source in ("chat.messages", "shop.purchases"):
            servers.copy_table(connection, postgres, source, DATABASE)
        target = authored / "target" / "postgres"
        run_dbt(["build"], target, target, environment=environment)
        compared = dict(_compared(project, connection, postgres))
    assert set(compared) == set(emitted.models)
    assert all(compared.values()), "a model without rows proves nothing"


def _compared(project: Project, connection: duckdb.DuckDBPyConnection, postgres: Postgres) -> list[tuple[str, int]]:
    """Each model and its rows, after they were found to be those of DuckDB."""
    found = []
    for model in project.ordered():
        connection.execute(f"CREATE OR REPLACE VIEW {model.relation.sql('duckdb')} AS {model.sql}")
        answer = connection.sql(model.sql)
        columns = [(n, duck_type(str(t))) for n, t in zip(answer.columns, answer.types, strict=True)]
        types, rows = servers.ask(postgres, "marts", f'SELECT * FROM "{model.name}"', columns, DATABASE)
        assert types == [servers.type_name(POSTGRES.type(kind)) for _, kind in columns], model.name
        wanted = [
            tuple(engines.canonical(v, k) for v, (_, k) in zip(row, columns, strict=True)) for row in answer.fetchall()
        ]
        servers.check(model.sql, wanted, rows)
        found.append((model.name, len(rows)))
    return found
