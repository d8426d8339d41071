"""Small projects without dbt: sources and models as text, planned, run on ClickHouse and on DuckDB, and compared."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import json
import math
import random
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import jinja2
import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.diff import refreshes_of
from realtime.deploy.refreshes import refresh_now
from realtime.emit.ddl import refresh_ddl, state_ddl
from realtime.emit.landing import create_landing
from realtime.emit.shards import create_database, create_whole
from realtime.planner.ir import Plan, Step
from realtime.planner.planner import Outcome, plan_project
from realtime.project.binder import table
from realtime.project.manifest import Model, Project, Query, Source, Test

Row = dict[str, Any]
# What every client of a landing table sends with an insert, beside its token.
_AS_INGEST = {"date_time_input_format": "best_effort", "deduplicate_blocks_in_dependent_materialized_views": 1}
Rows = Mapping[str, Sequence[Row]]


@dataclasses.dataclass(frozen=True)
class Declared:
    """A source: column types, those that are never NULL, and ``meta.realtime``."""

    columns: Mapping[str, str]
    not_null: tuple[str, ...] = ()
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def project(
    sources: Mapping[str, Declared],
    models: Mapping[str, str],
    *,
    options: Mapping[str, Mapping[str, Any] | None] | None = None,
    queries: Mapping[str, str] | None = None,
    examples: Mapping[str, Any] | None = None,
    tests: Sequence[Test] = (),
) -> Project:
    """A project of ``sources`` (``app.events`` → columns) and ``models`` (name → SQL with ref() and source())."""
    built = {}
    for name, sql in models.items():
        text, reads = render(sql)
        given = (options or {}).get(name, {})
        built[f"model.t.{name}"] = _model(name, text, reads, given)
    lambdas = []
    for name, sql in (queries or {}).items():
        text, reads = render(sql)
        lambdas.append(Query(name, text, reads, examples or {}, "", f"lambdas/{name}.sql"))
    return Project(
        name="t",
        adapter="duckdb",
        sources={f"source.t.{name}": _source(name, declared) for name, declared in sources.items()},
        models=built,
        tests=tuple(tests),
        queries=tuple(lambdas),
    )


def unique(owner: str, *columns: str) -> Test:
    """A test that ``columns`` tell the rows of ``owner`` apart."""
    kwargs = {"combination_of_columns": list(columns)} if len(columns) > 1 else {}
    name = "unique_combination_of_columns" if kwargs else "unique"
    column = "" if kwargs else columns[0]
    metadata = {"name": name, "kwargs": kwargs}
    return Test(f"test.{owner}.{name}", name, "", (owner,), metadata, owner, column, {}, "", "models/tests.yml")


def _model(name: str, sql: str, reads: tuple[str, ...], options: Mapping[str, Any] | None) -> Model:
    return Model(
        unique_id=f"model.t.{name}",
        name=name,
        sql=sql,
        relation=table(name),
        depends_on=reads,
        options=options,
        description=f"Model {name}.",
        descriptions={},
        path=f"models/{name}.sql",
    )


def _source(name: str, declared: Declared) -> Source:
    schema, relation = name.split(".")
    return Source(
        unique_id=f"source.t.{name}",
        name=name,
        relation=table(relation, schema),
        columns=declared.columns,
        options=declared.options,
        not_null=declared.not_null,
        description="",
        descriptions={},
        path="models/sources.yml",
    )


def render(sql: str) -> tuple[str, tuple[str, ...]]:
    """``sql`` as ``dbt compile`` leaves it, and what it reads."""
    reads: list[str] = []

    def ref(name: str) -> str:
        reads.append(f"model.t.{name}")
        return f'"memory"."main"."{name}"'

    def source(schema: str, name: str) -> str:
        reads.append(f"source.t.{schema}.{name}")
        return f'"memory"."{schema}"."{name}"'

    text = jinja2.Template(sql, keep_trailing_newline=True).render(ref=ref, source=source)
    return text, tuple(dict.fromkeys(reads))


def planned(built: Project, database: str) -> Plan:
    """The plan; the test fails with every refusal where there is one."""
    outcome: Outcome = plan_project(built, database)
    assert not outcome.refusals, "\n".join(str(r) for r in outcome.refusals)
    return outcome.plan


class Deployed:
    """A plan on a real ClickHouse, in the simplest way that gives what deploying gives."""

    def __init__(self, plan: Plan, client: ClickHouse) -> None:
        self.plan, self.client = plan, client
        for suffix in ("", "_raw", "_state"):
            client.execute(create_database(f"{plan.database}{suffix}", client.cluster))
        for spec in plan.sources:
            client.execute(create_landing(spec))
            if spec.shards is not msgspec.UNSET:
                client.execute(create_whole(spec.landing, spec.shards))
        for step in plan.steps:
            for state in step.states:
                for statement in state_ddl(state):
                    client.execute(statement)
            for statement in refresh_ddl(step.refresh) if step.refresh is not None else ():
                client.execute(statement)
            client.execute(f"CREATE VIEW {step.relation} AS\n{self.sql(step.select)}")

    def sql(self, select: str) -> str:
        """``select`` with dbt's ref() and source() resolved."""
        database = self.plan.database

        def source(group: str, name: str) -> str:
            return f"{database}_{'raw' if group == 'landing' else group}.{name}"

        return jinja2.Template(select).render(ref=lambda name: f"{database}.{name}", source=source)

    def empty(self) -> None:
        """Takes every row out of landing tables and states."""
        tables = [s.landing for s in self.plan.sources]
        tables += [state.relation for step in self.plan.steps for state in step.states]
        for name in tables:
            self.client.execute(f"TRUNCATE TABLE {name}")

    def refresh(self) -> None:
        """Refreshes every model that is refreshed, those that others read first."""
        for refresh in refreshes_of(self.plan).values():
            refresh_now(self.client, refresh)

    def insert(self, rows: Rows, seed: int) -> None:
        """Inserts ``rows`` in random order, in up to three batches each, the sources taking turns."""
        chance = random.Random(seed)
        batches = []
        for spec in self.plan.sources:
            waiting = list(rows.get(spec.name, ()))
            chance.shuffle(waiting)
            cuts = sorted(chance.randint(0, len(waiting)) for _ in range(2))
            for start, end in zip([0, *cuts], [*cuts, len(waiting)], strict=True):
                if start < end:
                    batches.append((spec.whole, waiting[start:end]))
        chance.shuffle(batches)
        for landing, batch in batches:
            lines = "\n".join(json.dumps(row, default=_json, ensure_ascii=False) for row in batch)
            settings = {**_AS_INGEST, "insert_deduplication_token": uuid.uuid4().hex}
            self.client.execute(f"INSERT INTO {landing} FORMAT JSONEachRow\n{lines}", settings=settings)

    def read(self, step: Step) -> Counter[tuple[Any, ...]]:
        """The rows of a read view, each with how often it occurs."""
        return counted(self.client.rows(f"SELECT * FROM {step.relation}"))


def in_duckdb(built: Project, rows: Rows) -> dict[str, Counter[tuple[Any, ...]]]:
    """What every model gives in DuckDB on ``rows``."""
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'; SET threads = 1")
    for source in built.sources.values():
        name = source.relation.sql("duckdb")
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {source.relation.db}")
        columns = ", ".join(f'"{n}" {t}' for n, t in source.columns.items())
        connection.execute(f"CREATE TABLE {name} ({columns})")
        values = [[row.get(c) for c in source.columns] for row in rows.get(source.name, ())]
        if values:
            marks = ", ".join(f"({', '.join('?' for _ in source.columns)})" for _ in values)
            connection.execute(f"INSERT INTO {name} VALUES {marks}", [v for row in values for v in row])
    found = {}
    for model in ordered(built):
        connection.execute(f"CREATE VIEW {model.relation.sql('duckdb')} AS {model.sql}")
        relation = connection.sql(f"SELECT * FROM {model.relation.sql('duckdb')}")
        names = relation.columns
        found[model.name] = counted([dict(zip(names, r, strict=True)) for r in relation.fetchall()])
    return found


def ordered(built: Project) -> list[Model]:
    """Models, upstream ones first."""
    waiting, done = list(built.models.values()), []
    while waiting:
        ready = [m for m in waiting if not set(m.depends_on) & {w.unique_id for w in waiting}]
        done += ready
        waiting = [m for m in waiting if m not in ready]
    return done


def counted(rows: Sequence[Row]) -> Counter[tuple[Any, ...]]:
    """Rows as comparable tuples: column names included, times without zone, floats to 12 digits."""
    return Counter(tuple((name, comparable(value)) for name, value in row.items()) for row in rows)


def comparable(value: Any) -> Any:
    """``value`` so that equal answers are equal objects."""
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, float):
        return "nan" if math.isnan(value) else float(f"{value:.12g}") + 0.0
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, (list, tuple)):
        return tuple(comparable(v) for v in value)
    if isinstance(value, dict):
        return tuple((name, comparable(v)) for name, v in value.items())
    return value


def _json(value: Any) -> Any:
    return str(value)
