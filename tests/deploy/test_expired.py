"""Rows whose time is over are deleted once the lake has them, and never before."""

from __future__ import annotations

import dataclasses
from typing import Any

import duckdb
import pytest

from realtime.clickhouse.moment import EPOCH
from realtime.deploy.ledger import Ledger
from realtime.deploy.lock import exclusive
from realtime.deploy.promote import stage_views
from realtime.ingest.expired import delete_expired
from realtime.ingest.export import Exported, export
from realtime.ingest.lake_files import lake_files
from realtime.planner.ir import Plan
from realtime.settings import Settings
from tests.deploy.conftest import Site, project
from tests.deploy.test_ttl import IDS, chat, merge

MODELS = {"per_room": "select room, count(*) as messages, count(*) as total from memory.chat.messages group by room"}
WORDS = {"ttl": "3 hours"}
ONE_BY_ONE = {"ttl": "ifNull(sent_at, _ingested_at) + INTERVAL 3 HOUR"}
PARTED = {"ttl": "3 hours", "partition_by": "room"}


def deployed(site: Site, **options: Any) -> Plan:
    """The models over the source with these options."""
    return site.deploy(project(MODELS, of=chat(**options)), build=stage_views)


def insert(site: Site, **ages: str) -> None:
    """Messages by their ids ``m1`` …, each of an age such as ``2 DAY``."""
    rows = ", ".join(f"({name[1:]}, 'r', now64(6) - INTERVAL {age})" for name, age in ages.items())
    site.client.execute(f"INSERT INTO {site.database}_raw.chat__messages (id, room, sent_at) VALUES {rows}")


def exported(site: Site, plan: Plan, settings: Settings | None = None, *, take_over: bool = False) -> Exported:
    """One export."""
    (found,) = export(settings or site.settings, plan, site.client, take_over=take_over)
    return found


def landed(site: Site) -> list[int]:
    """Ids in the landing table, after ClickHouse deleted what it would delete by itself."""
    merge(site, f"{site.database}_raw.chat__messages")
    return [i for (i,) in site.rows(IDS)]


def in_lake(settings: Settings) -> list[int]:
    """Ids in the lake."""
    paths = [str(file.path) for file in lake_files(settings, "chat.messages")]
    return [row[0] for row in duckdb.execute("SELECT id FROM read_parquet($1) ORDER BY id", [paths]).fetchall()]


@pytest.mark.parametrize("options", [WORDS, ONE_BY_ONE, PARTED], ids=["words", "one by one", "other partitions"])
def test_only_rows_that_the_lake_has_are_deleted(site: Site, options: dict[str, str]) -> None:
    plan = deployed(site, **options)
    site.client.execute(f"SYSTEM STOP TTL MERGES {plan.sources[0].landing}")
    insert(site, m1="2 DAY", m2="1 MINUTE", m3="30 HOUR")
    first = exported(site, plan)
    assert (first.rows, first.expired, first.held) == (3, 2, False)
    site.client.execute(f"SYSTEM START TTL MERGES {plan.sources[0].landing}")
    insert(site, m4="2 DAY", m5="1 MINUTE")
    # What came since the export has expired and is in no lake: neither ClickHouse nor an older watermark deletes it.
    assert delete_expired(plan, site.client, plan.sources, first.watermark) == {"chat.messages": 0}
    assert landed(site) == [2, 4, 5]
    assert exported(site, plan).expired == 1
    assert landed(site) == [2, 5]
    assert in_lake(site.settings) == [1, 2, 3, 4, 5]
    assert site.per_room() == [("r", 5, 5)]


def test_a_deploy_leaves_the_deletion_to_the_lake(site: Site) -> None:
    exported(site, deployed(site, **WORDS))
    insert(site, m1="2 DAY", m2="1 MINUTE")
    said = len(site.said)
    plan = deployed(site, ttl="20 days")
    assert any(line.startswith("rebuild landing table") for line in site.said[said:])
    assert any("once the lake has it" in line for line in site.said[said:])
    deployed(site, **WORDS)
    deployed(site, **ONE_BY_ONE)
    plan = deployed(site, ttl="ifNull(sent_at, _ingested_at) + INTERVAL 1 HOUR")
    assert landed(site) == [1, 2]
    assert exported(site, plan).expired == 1
    assert (landed(site), in_lake(site.settings)) == ([2], [1, 2])


def test_one_lake_decides(site: Site) -> None:
    plan = deployed(site, **WORDS)
    insert(site, m1="1 MINUTE")
    exported(site, plan)
    insert(site, m2="2 DAY")
    other = dataclasses.replace(
        site.settings, values={**site.settings.values, "DUET_LAKE": str(site.settings.project_dir / "b")}
    )
    found = exported(site, plan, other)
    assert (found.rows, found.expired, found.held) == (2, 0, True)
    assert landed(site) == [1, 2]
    assert exported(site, plan, other, take_over=True).expired == 1
    assert exported(site, plan).held
    assert (in_lake(site.settings), in_lake(other)) == ([1], [1, 2])


def test_nothing_is_deleted_while_a_deploy_may_read_it(site: Site) -> None:
    plan = deployed(site, **WORDS)
    exported(site, plan)
    insert(site, m1="2 DAY")
    with exclusive(site.client, site.database):
        assert exported(site, plan).expired == 0
    ledger = Ledger(site.client, site.database)
    (state,) = plan.steps[0].states
    ledger.mark([state.relation], "cut", EPOCH)
    assert exported(site, plan).expired == 0
    ledger.mark([state.relation], "complete", EPOCH)
    assert exported(site, plan).expired == 1
