"""Rows that expire: by whole partitions, whatever moments the rows have, and without taking anything else along."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from realtime.deploy.promote import stage_views
from realtime.planner.expiry import in_words, of_landing
from tests.deploy.conftest import Site, project, source

COLUMNS = {"id": "bigint", "room": "varchar", "sent_at": "timestamp"}
# id, how long before now it was sent ("": nobody knows), whether it has expired after 30 days.
ROWS = [(1, "1 HOUR", False), (2, "29 DAY", False), (3, "45 DAY", True), (4, "400 DAY", True), (5, "", False)]
STRANGE = ["'1900-01-01'", "'2299-12-31 23:59:59'", "'1969-12-31'", "'2106-02-08'", "NULL"]
PARTS = "SELECT count(DISTINCT _partition_id) FROM {db}_raw.chat__messages"
IDS = "SELECT id FROM {db}_raw.chat__messages ORDER BY id"


def chat(**options: Any) -> Any:
    """The source ``chat.messages`` of moments."""
    return source(COLUMNS, event_time="sent_at", **options)


def insert(site: Site) -> None:
    """Puts in `ROWS`, in one insert."""
    values = ", ".join(f"({i}, 'r', {f'now64(6) - INTERVAL {ago}' if ago else 'NULL'})" for i, ago, _ in ROWS)
    site.client.execute(f"INSERT INTO {site.database}_raw.chat__messages (id, room, sent_at) VALUES {values}")


def merge(site: Site, table: str) -> None:
    """Lets ClickHouse delete what has expired now, as it does within hours by itself."""
    site.client.execute(f"ALTER TABLE {table} MODIFY SETTING merge_with_ttl_timeout = 0")
    site.client.execute(f"OPTIMIZE TABLE {table} FINAL")


@pytest.mark.parametrize(
    ("ttl", "begin"),
    [("3 hours", "toStartOfHour"), ("20 days", "toDate"), ("30 days", "toMonday"), ("6 months", "toStartOfMonth"),
     ("1 year", "toStartOfQuarter"), ("50 years", "toStartOfQuarter")],
)  # fmt: skip
def test_a_partition_is_a_quarter_of_the_time_at_most(ttl: str, begin: str) -> None:
    span = in_words(ttl)
    assert span is not None
    assert of_landing(span, "`sent_at`", "_ingested_at").partition_by.startswith(f"{begin}(")


def test_rows_expire_by_whole_partitions_whatever_moments_they_have(site: Site) -> None:
    plan = site.deploy(
        project({"ids": "select count(*) as n from memory.chat.messages"}, of=chat(ttl="30 days")), build=stage_views
    )
    insert(site)
    strange = ", ".join(f"({100 + i}, 'r', {moment})" for i, moment in enumerate(STRANGE))
    landing = plan.sources[0].landing
    site.client.execute(f"INSERT INTO {landing} (id, room, sent_at) VALUES {strange}")
    # A row from far in the past is put where rows are dropped from next, one from the future counts as of now.
    assert site.rows(PARTS)[0][0] <= 4
    (table,) = site.client.rows(f"SELECT engine_full FROM system.tables WHERE name = '{landing.split('.')[1]}'")
    assert "ttl_only_drop_parts = 1" in table["engine_full"]
    merge(site, landing)
    kept = {i for i, _, expired in ROWS if not expired} | {101, 103, 104}
    assert {i for (i,) in site.rows(IDS)} == kept
    assert site.rows("SELECT n FROM {db}.ids") == [(len(ROWS) + len(STRANGE),)]


def test_many_partitions_are_made_at_once(site: Site) -> None:
    models = {"ids": "select date_trunc('hour', sent_at) as h, count(*) as n from memory.chat.messages group by all"}
    plan = site.deploy(project(models, of=chat(ttl="50 years")), build=stage_views)
    quarters = "toDateTime64('1970-01-01', 6, 'UTC') + toIntervalDay(90 * number)"
    site.client.execute(
        f"INSERT INTO {plan.sources[0].landing} (id, room, sent_at) SELECT number, 'r', {quarters} FROM numbers(230)",
        settings={"max_partitions_per_insert_block": 0},
    )
    assert site.rows(PARTS)[0][0] > 180
    assert site.rows("SELECT count() FROM {db}.ids") == [(230,)]


def test_a_table_of_another_ttl_is_made_anew_only_where_that_is_written(site: Site) -> None:
    models = {"ids": "select room, count(*) as n from memory.chat.messages group by room"}
    raw = "ifNull(sent_at, _ingested_at) + INTERVAL 30 DAY"
    site.deploy(project(models, of=chat(ttl=raw)), build=stage_views)
    insert(site)
    assert site.changes(site.compile(project(models, of=chat(ttl=raw)))) == ()
    wanted = project(models, of=chat(ttl="29 days"))
    assert [str(c).split(" ")[0] for c in site.changes(site.compile(wanted))] == ["rebuild", "change"]
    (rebuilt, changed) = site.changes(site.compile(wanted))
    assert "partition_by is toMonday(" in str(rebuilt)
    assert not rebuilt.destructive
    assert not changed.destructive


def test_groups_expire_and_come_back_empty_never_in_part(site: Site) -> None:
    sql = "select sent_at::date as sent_on, count(*) as n from memory.chat.messages group by all"
    built = project({"per_day": sql}, of=chat())
    models = {u: dataclasses.replace(m, options={"ttl": "30 days"}) for u, m in built.models.items()}
    plan = site.deploy(dataclasses.replace(built, models=models), build=stage_views)
    insert(site)
    (state,) = plan.steps[0].states
    assert "toMonday" in state.partition_by
    seen = "SELECT dateDiff('day', sent_on, today()), n FROM {db}.per_day ORDER BY 1"
    before = site.rows(seen)
    assert [n for days, n in before if days is None or days <= 30] == [1, 1, 1]
    assert len(before) == 3
    merge(site, state.relation)
    assert site.rows(f"SELECT count() FROM {state.relation}") == [(3,)]
    insert(site)  # rows that come late begin groups that have expired anew: nobody sees these without their old rows
    assert site.rows(seen) == [(days, 2 * n) for days, n in before]
