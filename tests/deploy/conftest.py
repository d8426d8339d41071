"""Small projects, planned by the real planner, written by the real emitter and deployed to the session's server."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.apply import Build, deploy
from realtime.deploy.backfill import backfill
from realtime.deploy.change import Change
from realtime.deploy.cutover import cut_over
from realtime.deploy.diff import changes, refreshes_of, states_of
from realtime.deploy.ledger import Ledger, Work
from realtime.deploy.live import read_live
from realtime.deploy.options import Options
from realtime.deploy.promote import build_staging
from realtime.deploy.refreshes import make_refreshed
from realtime.emit.landing import landing_ddl
from realtime.emit.project import generate, write
from realtime.errors import DuetError
from realtime.planner.ir import Plan
from realtime.planner.planner import plan_project
from realtime.project.binder import table
from realtime.project.manifest import Model, Project, Query, Source, Test
from realtime.settings import Settings

COLUMNS = {"id": "bigint", "room": "varchar", "sender": "varchar", "size": "integer"}

PER_ROOM = "select room, count(*) as messages, sum(size) as total from memory.chat.messages group by room"
PER_SENDER = "select sender, count(*) as messages from memory.chat.messages group by sender"
BUSIEST = "select max(messages) as most, sum(messages) as all_messages from memory.main.per_room"
MODELS = {"per_room": PER_ROOM, "busiest": BUSIEST}

# `busiest` reads a column that the other `per_room` does not have: no view may ever read the other version's one.
RENAMED = {
    "per_room": "select room, count(*) as n, sum(size) as total, max(size) as largest from memory.chat.messages "
    "group by room",
    "busiest": "select max(n) as most, sum(n) as all_messages from memory.main.per_room",
}


def source(columns: Mapping[str, str] = COLUMNS, not_null: Sequence[str] = ("id",), **options: Any) -> Source:
    """The source ``chat.messages``."""
    return Source(
        unique_id="source.shop.chat.messages",
        name="chat.messages",
        relation=table("messages", "chat"),
        columns=columns,
        options=options,
        not_null=tuple(not_null),
        description="",
        descriptions={},
        path="models/sources.yml",
    )


def model(name: str, sql: str, names: Sequence[str] = ()) -> Model:
    """A model that opted in; it depends on those of ``names`` and the source that its SQL mentions."""
    upstream = [f"model.shop.{n}" for n in names if f".main.{n}" in sql]
    read = ["source.shop.chat.messages"] if "chat.messages" in sql else []
    return Model(
        unique_id=f"model.shop.{name}",
        name=name,
        sql=sql,
        relation=table(name, "main"),
        depends_on=tuple(upstream + read),
        options={},
        description="",
        descriptions={},
        path=f"models/{name}.sql",
    )


def query(name: str, sql: str, names: Sequence[str] = ()) -> Query:
    """A lambda over those of ``names`` that its SQL mentions."""
    reads = tuple(f"model.shop.{n}" for n in names if f".main.{n}" in sql)
    return Query(name, sql, reads, {}, "", f"realtime/lambdas/{name}.sql")


def generic_test(name: str, on: str, column: str, config: Mapping[str, Any] | None = None, **arguments: Any) -> Test:
    """A test that dbt ships, on a model's column."""
    return Test(
        unique_id=f"test.shop.{name}_{on}_{column}",
        name=f"{name}_{on}_{column}",
        sql="",
        depends_on=(f"model.shop.{on}",),
        metadata={"name": name, "namespace": None, "kwargs": {"column_name": column, **arguments}},
        attached=f"model.shop.{on}",
        column=column,
        config=dict(config or {}),
        path=f"models/{on}.yml",
        description="",
    )


def project(
    models: Mapping[str, str] = MODELS,
    tests: Sequence[Test] = (),
    of: Source | None = None,
    queries: Mapping[str, str] | None = None,
) -> Project:
    """A project over one source; ``models`` and ``queries``, the lambdas, map names to DuckDB SQL."""
    found = [model(name, sql, list(models)) for name, sql in models.items()]
    chat = of or source()
    return Project(
        name="shop",
        adapter="duckdb",
        sources={chat.unique_id: chat},
        models={m.unique_id: m for m in found},
        tests=tuple(tests),
        queries=tuple(query(name, sql, list(models)) for name, sql in (queries or {}).items()),
    )


@dataclasses.dataclass
class Site:
    """A project's folder and its database; ``said`` is what deploys reported."""

    settings: Settings
    client: ClickHouse
    database: str
    said: list[str] = dataclasses.field(default_factory=list)

    def compile(self, of: Project | None = None) -> Plan:
        """Plans ``of`` and writes the generated project."""
        authored = of or project()
        outcome = plan_project(authored, self.database)
        assert not outcome.refusals, [str(r) for r in outcome.refusals]
        write(self.settings.realtime_dir, generate(outcome.plan))
        return outcome.plan

    def deploy(self, of: Project | None = None, options: Options | None = None, build: Build = build_staging) -> Plan:
        """Compiles and deploys; afterwards there is nothing left to do."""
        plan = self.compile(of)
        deploy(self.settings, plan, self.client, self.said.append, options, build)
        assert self.changes(plan) == ()
        return plan

    def changes(self, plan: Plan) -> tuple[Change, ...]:
        """What a deploy of ``plan`` would do."""
        return changes(plan, read_live(self.client, self.database))

    def insert(self, first: int, count: int, token: str = "") -> None:
        """Inserts messages ``first`` and on: room, sender and size follow from the id."""
        rows = "\n".join(json.dumps(message(i)) for i in range(first, first + count))
        settings = {"insert_deduplication_token": token, "deduplicate_blocks_in_dependent_materialized_views": 1}
        columns = ", ".join(message(0))
        self.client.execute(
            f"INSERT INTO {self.database}_raw.chat__messages ({columns}) FORMAT JSONEachRow\n{rows}",
            settings=settings if token else None,
        )

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query over the read views, ``{db}`` being their database."""
        return [tuple(row.values()) for row in self.client.rows(sql.replace("{db}", self.database))]

    def per_room(self) -> list[tuple[Any, ...]]:
        """What the read view of ``per_room`` gives."""
        return self.rows("SELECT room, messages, total FROM {db}.per_room ORDER BY room")

    def names(self, suffix: str) -> list[str]:
        """Tables and views in the database ``<database><suffix>``."""
        rows = self.rows(f"SELECT name FROM system.tables WHERE database = '{{db}}{suffix}' ORDER BY name")
        return [name for (name,) in rows]


def message(i: int) -> dict[str, Any]:
    """The row with id ``i``."""
    return {"id": i, "room": f"room {i % 3}", "sender": f"sender {i % 7}", "size": i % 11}


def batch_per_room(count: int) -> list[tuple[Any, ...]]:
    """``per_room`` computed over messages 0 to ``count``."""
    found: dict[str, list[int]] = {}
    for row in map(message, range(count)):
        found.setdefault(row["room"], []).append(row["size"])
    return [(room, len(sizes), sum(sizes)) for room, sizes in sorted(found.items())]


def fill(site: Site, plan: Plan) -> None:
    """Makes landing tables and states of ``plan``, without read views."""
    for suffix in ("", "_raw", "_state"):
        site.client.execute(f"CREATE DATABASE IF NOT EXISTS {site.database}{suffix}")
    for statement in [s for spec in plan.sources for s in landing_ddl(spec)]:
        site.client.execute(statement)
    ledger = Ledger(site.client, site.database)
    ledger.create()
    work = Work(site.client, ledger, site.said.append, lambda: None, "test")
    states = list(states_of(plan).values())
    cuts = cut_over(work, states, read_live(site.client, site.database))
    for state in states:
        backfill(work, state, cuts[state.relation])
    make_refreshed(work, refreshes_of(plan).values())


class Load:
    """A writer and a reader beside what is tested. The reader expects every row that was acknowledged before it
    asked, and never an error; ``pause`` is between two queries, in seconds."""

    def __init__(self, site: Site, first: int, pause: float) -> None:
        self.site = site
        self.inserted = first
        self.reads = 0
        self.errors: list[str] = []
        self._pause = pause
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(one,)) for one in (self._write, self._read)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, work: Callable[[], None]) -> None:
        while not self._stop.wait(self._pause):
            try:
                work()
            except DuetError as error:
                self.errors.append(str(error))

    def _write(self) -> None:
        count = 1 + self.inserted % 4
        self.site.insert(self.inserted, count, token=f"from {self.inserted}")
        self.inserted += count

    def _read(self) -> None:
        acknowledged = self.inserted
        ((everything,),) = self.site.rows("SELECT all_messages FROM {db}.busiest")
        if not acknowledged <= everything <= self.inserted + 4:
            self.errors.append(f"{acknowledged} rows were in, a reader saw {everything}")
        self.reads += 1


@pytest.fixture
def site(tmp_path: Path, clickhouse: ClickHouse, database: str) -> Site:
    """An empty folder and database."""
    return Site(Settings.load(tmp_path, {}), clickhouse, database)
