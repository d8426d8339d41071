"""Exports that have stopped are told of, and only those."""

from __future__ import annotations

from datetime import timedelta

import pytest

from realtime.clickhouse.moment import EPOCH, micros
from realtime.deploy.promote import stage_views
from realtime.ingest.export import export
from realtime.ingest.exports import Waiting, waiting
from realtime.ingest.lake_files import lake_files
from realtime.planner.ir import Plan
from realtime.services import Status
from tests.deploy.conftest import Site, project
from tests.deploy.test_ttl import chat

MODELS = {"per_room": "select room, count(*) as messages, count(*) as total from memory.chat.messages group by room"}


def deployed(site: Site, **options: str) -> Plan:
    return site.deploy(project(MODELS, of=chat(**options)), build=stage_views)


def insert(site: Site, sent: str, came: str) -> None:
    """A message that was sent and came so long ago."""
    site.client.execute(
        f"INSERT INTO {site.database}_raw.chat__messages (id, room, sent_at, _ingested_at) "
        f"SELECT 1, 'r', now64(6) - INTERVAL {sent}, now64(6) - INTERVAL {came}"
    )


def told(site: Site, plan: Plan) -> list[Waiting]:
    return list(waiting(site.settings, site.client, plan))


def test_rows_that_wait_for_long(site: Site) -> None:
    plan = deployed(site)
    insert(site, "3 DAY", "3 DAY")
    assert told(site, plan) == []  # nothing is exported: nobody uses a lake
    export(site.settings, plan, site.client)
    insert(site, "1 HOUR", "1 HOUR")
    assert told(site, plan) == []
    (file,) = lake_files(site.settings, "chat.messages")
    older = file.end - timedelta(days=4)
    # As if the export had been four days ago.
    file.path.rename(file.path.with_name(f"{EPOCH:%Y%m%dT%H%M%S%fZ}_{older:%Y%m%dT%H%M%S%fZ}.parquet"))
    (found,) = told(site, plan)
    assert (found.rows, found.kept, found.problem) == (2, 0, "")
    assert found.since is not None
    assert micros(found.since) < micros(file.end)
    assert "2 rows since" in str(found)
    assert str(found).endswith("run duet export, regularly")
    assert Status((), exports=(found,)).well


@pytest.mark.parametrize("ttl", ["3 hours", "ifNull(sent_at, _ingested_at) + INTERVAL 3 HOUR"])
def test_rows_whose_ttl_is_over_and_that_nobody_deletes(site: Site, ttl: str) -> None:
    plan = deployed(site, ttl=ttl)
    insert(site, "1 MINUTE", "1 MINUTE")
    export(site.settings, plan, site.client)
    insert(site, "20 HOUR", "20 HOUR")
    assert told(site, plan) == []
    insert(site, "3 DAY", "0 DAY")
    (found,) = told(site, plan)
    assert (found.rows, found.since, found.kept) == (0, None, 1)
    assert "the ttl of 1 rows has been over for a day" in str(found)
    assert not Status((), exports=(found,)).well
    export(site.settings, plan, site.client)
    assert told(site, plan) == []
