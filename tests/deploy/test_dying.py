"""Deploys and rollbacks that are killed at a statement, under a writer and a reader, then continued or given up."""

from __future__ import annotations

import dataclasses

import duckdb
import pytest

from realtime.deploy.apply import deploy
from realtime.deploy.options import Options
from realtime.deploy.promote import stage_views
from realtime.deploy.replace import NEXT
from realtime.deploy.rollback import rollback
from realtime.deploy.selection import selected_plan
from realtime.emit.project import generate, write
from realtime.errors import SourceError
from realtime.ingest.writer import TROUBLE_CODES
from realtime.planner.ir import Plan
from realtime.project.binder import table
from realtime.project.manifest import Model, Project
from tests.deploy.child import killed
from tests.deploy.conftest import (
    COLUMNS,
    MODELS,
    PER_SENDER,
    RENAMED,
    Load,
    Site,
    batch_per_room,
    model,
    project,
    source,
)
from tests.landing import project as folder

COPY = "INSERT INTO {db}_raw.chat__messages__next_"
# Statements of a deploy that makes a landing table anew, in their order, each with how many like it there are up to it,
# and whether it is killed within it.
REBUILD: tuple[tuple[str, int, bool], ...] = (
    ("MODIFY COLUMN _ingested_at", 1, False),
    (COPY, 1, True),
    ("MODIFY SETTING max_parts_in_total", 1, True),
    (COPY, 2, True),
    ("MODIFY SETTING max_parts_in_total", 2, False),
    ("EXCHANGE TABLES", 1, False),
    ("EXCHANGE TABLES", 1, True),
    ("RESET SETTING max_parts_in_total", 1, False),
    ("DROP TABLE IF EXISTS {db}_raw.chat__messages__next_", 1, False),
)
ROLLBACK = (
    ("CREATE OR REPLACE VIEW", 4),
    ("INSERT INTO `{db}_duet`.deployments", 1),
    ("CREATE OR REPLACE VIEW", 6),
)
BACKFILL = (
    ("INSERT INTO `{db}_duet`.chunks", 2),
    ("MOVE PARTITION", 1),
)


def kill(site: Site, where: tuple[str, int], *more: str) -> None:
    """Kills a deploy of what was compiled last before the statement ``where``."""
    killed(site.settings.project_dir, site.client.endpoint, where[0].replace("{db}", site.database), where[1], *more)


def check(site: Site, load: Load, plan: Plan) -> None:
    """Nothing is left to do and nothing left over, and every row counts once."""
    assert site.changes(plan) == ()
    assert site.names("_raw") == ["chat__messages", "chat__messages__quarantine"]
    assert not [name for name in site.names("_state") if "__backfill" in name]
    assert site.rows("SELECT name FROM system.databases WHERE startsWith(name, '{db}_staging')") == []
    assert not [e for e in load.errors if not any(f"Code: {code}." in e for code in TROUBLE_CODES)]


def whole(site: Site, rows: int) -> None:
    landing = f"{site.database}_raw.chat__messages"
    assert site.rows(f"SELECT count(), uniqExact(id) FROM {landing}") == [(rows, rows)]
    assert site.rows("SELECT * FROM {db}.per_room ORDER BY room")[0][:2] == batch_per_room(rows)[0][:2]
    assert site.rows("SELECT all_messages FROM {db}.busiest") == [(rows,)]


def test_a_table_made_anew(site: Site) -> None:
    """In another partitioning each time, another order, and at last of a wider type of the key. Killed again before
    the table of the time before is out of the way, or given up, then continued."""
    before = source(order_by=["id"])
    site.deploy(project(MODELS, of=before), build=stage_views)
    site.insert(0, 10)
    with Load(site, first=10, pause=0.02) as load:
        for turn, (mark, number, within) in enumerate(REBUILD):
            columns = {**COLUMNS, "id": "bigint" if turn < 5 else "hugeint"}
            order = (["id"], ["room", "id"])[turn % 2]
            after = source(columns, partition_by=f"id % {turn + 2}", order_by=order)
            site.compile(project(MODELS, of=after))
            kill(site, (mark, number), *(["--within"] if within else []))
            if turn == 2:
                check(site, load, site.deploy(project(MODELS, of=before), build=stage_views))
        check(site, load, site.deploy(project(MODELS, of=after), build=stage_views))
    whole(site, load.inserted)


def test_a_column_that_goes(site: Site) -> None:
    """Before it is dropped, and within that."""
    with_extra = source({**COLUMNS, "extra": "varchar"})
    site.deploy(project(MODELS, of=with_extra), build=stage_views)
    site.insert(0, 10)
    allowed = Options(destructive=True)
    with Load(site, first=10, pause=0.02) as load:
        for within in ([], ["--within"]):
            site.deploy(project(MODELS, of=with_extra), build=stage_views)
            site.compile(project(MODELS, of=source()))
            kill(site, ("DROP COLUMN", 1), "--destructive", *within)
            check(site, load, site.deploy(project(MODELS, of=source()), allowed, stage_views))
    whole(site, load.inserted)


def test_rows_that_come_while_a_column_is_narrowed(site: Site) -> None:
    """It was empty when that was planned: what does not fit is not cut off, the column stays as it was."""
    site.deploy(project(MODELS, of=source({**COLUMNS, "size": "bigint"})), build=stage_views)
    plan = site.compile(project(MODELS, of=source()))
    landing = f"{site.database}_raw.chat__messages"

    def come(line: str) -> None:
        if "size is" in line:
            site.client.execute(f"INSERT INTO {landing} (id, room, size) VALUES (1, 'a', 5000000000)")

    with pytest.raises(SourceError, match="can't be made"):
        deploy(site.settings, plan, site.client, come, build=stage_views)
    assert site.rows(f"SELECT size FROM {landing}") == [(5_000_000_000,)]
    assert site.rows("SELECT total FROM {db}.per_room") == [(5_000_000_000,)]
    assert site.names("_raw") == ["chat__messages", "chat__messages__quarantine"]
    with pytest.raises(SourceError, match="can't follow"):
        site.changes(plan)


def test_a_rollback(site: Site) -> None:
    site.deploy(project(MODELS), build=stage_views)
    wanted = site.deploy(project(RENAMED), build=stage_views)
    site.insert(0, 10)
    with Load(site, first=10, pause=0.02) as load:
        for where in ROLLBACK:
            kill(site, where, "--rollback", "per_room")
            deploy(site.settings, wanted, site.client, site.said.append, build=stage_views)
            check(site, load, wanted)
        active = rollback(site.settings, site.client, site.database, "per_room", site.said.append)
        check(site, load, active)
    whole(site, load.inserted)


def test_a_new_version_with_wider_columns(site: Site) -> None:
    """Each version is made of other states, and its source has wider columns, or the narrower ones again."""
    site.deploy(project(MODELS), build=stage_views)
    site.insert(0, 10)
    with Load(site, first=10, pause=0.02) as load:
        for turn, where in enumerate(BACKFILL):
            columns = {**COLUMNS, "size": ("bigint", "hugeint")[turn]}
            per_room = MODELS["per_room"].replace("sum(size) as total", f"sum(size) as total, max(size + {turn}) as m")
            of = source(columns)
            site.compile(project(MODELS | {"per_room": per_room}, of=of))
            kill(site, where)
            check(site, load, site.deploy(project(MODELS | {"per_room": per_room}, of=of), Options(), stage_views))
    whole(site, load.inserted)


@pytest.mark.parametrize("backfill", [False, True])
def test_a_state_that_begins_now(site: Site, backfill: bool) -> None:
    """Killed without a backfill, or while that is made up for, and done again."""
    site.deploy(project({"ids": "select count(*) as n from memory.chat.messages"}), build=stage_views)
    site.insert(0, 30)
    plan = site.compile(project(MODELS))
    if backfill:
        deploy(site.settings, plan, site.client, site.said.append, Options(backfill=False), stage_views)
        mark = "INSERT INTO `{db}_duet`.states"
    else:
        mark = "CREATE DATABASE IF NOT EXISTS `{db}_staging"
    kill(site, (mark, 1), "--backfill", "yes" if backfill else "no")
    site.insert(30, 10)
    deploy(site.settings, plan, site.client, site.said.append, Options(backfill=False), stage_views)
    if not backfill:
        assert site.rows("SELECT all_messages FROM {db}.busiest") == [(10,)]
    deploy(site.settings, plan, site.client, site.said.append, Options(backfill=True), stage_views)
    assert site.changes(plan) == ()
    whole(site, 40)


# Of a deploy of a published model and one that is refreshed from it: within the copy, between it and the refresh.
PUBLISHED = (("FORMAT ArrowStream", 1), ("RENAME TABLE {db}_state.top", 1), ("CREATE MATERIALIZED VIEW", 1))


def published(extra: bool) -> Project:
    """With a published model, which has a column more where that is wanted, and one that is refreshed from it."""
    types = {"id": "BIGINT", **({"extra": "VARCHAR"} if extra else {})}
    batch = Model(
        "model.shop.m", "m", "", table("m", "main", "warehouse"), (), {"mode": "published"}, "", {}, "models/m.py",
        kind="Python model", types=types,
    )  # fmt: skip
    named = ", max(extra) as e" if extra else ""
    top = model("top", f"select max(id) as most{named} from warehouse.main.m", ["m"])
    top = dataclasses.replace(top, options={"mode": "refresh", "refresh_every": "1 week"})
    found = project(MODELS)
    return dataclasses.replace(found, models={**found.models, batch.unique_id: batch, top.unique_id: top})


def test_a_published_model_and_what_is_refreshed_from_it(site: Site) -> None:
    folder(site.settings.project_dir)
    warehouse = site.settings.project_dir / "warehouse.duckdb"

    def build(extra: bool) -> None:
        with duckdb.connect(str(warehouse)) as batch:
            named = ", 'x' AS extra" if extra else ""
            batch.execute(f"CREATE OR REPLACE TABLE m AS SELECT range AS id{named} FROM range(50)")

    build(extra=False)
    site.deploy(published(extra=False), build=stage_views)
    for turn, where in enumerate(PUBLISHED):
        extra = not turn % 2
        build(extra)
        site.compile(published(extra))
        kill(site, where)
        assert site.rows("SELECT count(), (SELECT most FROM {db}.top) FROM {db}.m") == [(50, 49)]
        site.deploy(published(extra), Options(keep_days=0), stage_views)
        assert site.rows("SELECT count(), (SELECT most FROM {db}.top) FROM {db}.m") == [(50, 49)]
        assert not [name for name in site.names("_state") if name.endswith(NEXT)]
        assert len([name for name in site.names("_state") if name.startswith(("m__", "top__"))]) == 3


@pytest.mark.parametrize("where", [("CREATE OR REPLACE VIEW", 2), ("INSERT INTO `{db}_duet`.deployments", 1)])
def test_a_selection(site: Site, where: tuple[str, int]) -> None:
    before = site.deploy(project({**MODELS, "per_sender": PER_SENDER}), build=stage_views)
    site.insert(0, 10)
    with Load(site, first=10, pause=0.02) as load:
        larger = PER_SENDER.replace("count(*)", "max(size) as m, count(*)")
        after = site.compile(project({**RENAMED, "per_sender": larger}))
        wanted = selected_plan(after, before, frozenset({"busiest"}))
        write(site.settings.realtime_dir, generate(wanted))
        kill(site, where)
        deploy(site.settings, wanted, site.client, site.said.append, build=stage_views)
        check(site, load, wanted)
    whole(site, load.inserted)
