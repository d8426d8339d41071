"""Refreshed tables on the way from one deploy to the next, under inserts and readers."""

from __future__ import annotations

import dataclasses
import re
import time

import pytest

from realtime.clickhouse.inserts import wait_for_inserts
from realtime.deploy.apply import deploy
from realtime.deploy.change import Kind
from realtime.deploy.diff import refreshes_of
from realtime.deploy.freshness import freshness
from realtime.deploy.ledger import Ledger
from realtime.deploy.options import Options
from realtime.deploy.refreshes import refresh_below, refresh_now
from realtime.errors import CommandError
from realtime.planner.ir import Plan
from realtime.project.manifest import Project
from tests.deploy.conftest import MODELS, RENAMED, Site, fill, project, source

REFRESH = {"mode": "refresh", "refresh_every": "1 week"}


def _refreshed(of: Project, *names: str) -> Project:
    models = {
        u: dataclasses.replace(m, options=REFRESH) if m.name in names else m for u, m in of.models.items()
    }  # fmt: skip
    return dataclasses.replace(of, models=models)


def test_versions_follow_each_other(site: Site) -> None:
    first = site.deploy(_refreshed(project(MODELS), "busiest"))
    site.insert(0, 100)
    assert _busiest(site) == [(None, None)]
    refresh_now(site.client, first.steps[1].refresh or pytest.fail("it is not refreshed"))
    assert _busiest(site) == [(34, 100)]
    site.insert(100, 20)
    (before,) = freshness(site.client, first)
    second = site.deploy(_refreshed(project(RENAMED), "busiest"), Options(keep_days=0))
    # Filled from the new state before anybody reads it, and the old one is gone with its view.
    assert _busiest(site) == [(40, 120)]
    _nothing_is_left_over(site, second)
    (after,) = freshness(site.client, second)
    assert after.as_of is not None
    assert before.as_of is not None
    assert before.as_of <= after.as_of
    assert not after.problem
    _a_first_refresh_that_fails_leaves_the_version_before(site)


def _busiest(site: Site) -> list[tuple[object, ...]]:
    return site.rows("SELECT most, all_messages FROM {db}.busiest")


def _nothing_is_left_over(site: Site, plan: Plan) -> None:
    states = [state for step in plan.steps for state in step.states]
    wanted = [s.relation for s in states] + [view.name for s in states for view in s.views]
    wanted += [name for r in refreshes_of(plan).values() for name in (r.relation, r.view)]
    assert site.names("_state") == sorted(name.split(".")[1] for name in wanted)


def _a_first_refresh_that_fails_leaves_the_version_before(site: Site) -> None:
    failing = {
        **RENAMED,
        "busiest": "select max(cast(room as integer)) as most, 0 as all_messages from memory.main.per_room",
    }
    plan = site.compile(_refreshed(project(failing), "busiest"))
    with pytest.raises(CommandError, match="model busiest can't be refreshed: text can't be cast"):
        deploy(site.settings, plan, site.client, site.said.append)
    assert _busiest(site) == [(40, 120)]
    assert Kind.CREATE_REFRESH in {change.kind for change in site.changes(plan)}


def test_refreshing_what_others_read_first(site: Site) -> None:
    chain = {**MODELS, "double": "select 2 * all_messages as n from memory.main.busiest"}
    plan = site.compile(_refreshed(project(chain), "busiest", "double"))
    fill(site, plan)
    site.insert(0, 30)
    assert refresh_below(site.client, plan, ["double"]) == {}
    assert site.rows(f"SELECT n FROM {list(refreshes_of(plan))[1]}") == [(60,)]
    site.insert(30, 30)
    assert refresh_below(site.client, plan, ["per_room"]) == {}
    assert site.rows(f"SELECT n FROM {list(refreshes_of(plan))[1]}") == [(60,)]


def test_a_failing_refresh_shows_its_cause_and_keeps_its_age(site: Site) -> None:
    casts = {"sizes": "select max(cast(sender as integer)) as size from memory.chat.messages where room <> 'x'"}
    plan = site.compile(_refreshed(project(casts), "sizes"))
    fill(site, plan)
    (fresh,) = freshness(site.client, plan)
    assert not fresh.problem
    site.insert(0, 1)
    problems = refresh_below(site.client, plan, ["sizes"])
    assert re.fullmatch("model sizes can't be refreshed: .*", problems["sizes"])
    (stale,) = freshness(site.client, plan)
    assert stale.as_of == fresh.as_of
    assert stale.problem.startswith("its last refresh failed: ")


def test_a_running_refresh_is_no_insert_to_wait_for(site: Site) -> None:
    slow = {"slow": "select id, size from memory.chat.messages"}
    plan = site.compile(_refreshed(project(slow, of=source()), "slow"))
    fill(site, plan)
    (refresh,) = refreshes_of(plan).values()
    landing = plan.sources[0].landing
    site.insert(0, 3)
    site.client.execute(
        f"ALTER TABLE {refresh.view} MODIFY QUERY SELECT id, size + sleepEachRow(0.6) AS size FROM {landing}"
    )
    site.client.execute(f"SYSTEM REFRESH VIEW {refresh.view}")
    while not site.rows("SELECT 1 FROM system.processes WHERE query LIKE 'INSERT INTO%{db}%'"):
        time.sleep(0.01)
    wait_for_inserts(site.client, [landing], timeout=0.2)
    assert site.rows("SELECT 1 FROM system.processes WHERE query LIKE 'INSERT INTO%{db}%'")
    # What it is writing is none of ours.
    assert not [c for c in site.changes(plan) if ".tmp" in c.subject]


def test_an_unfinished_table_is_made_again(site: Site) -> None:
    plan = site.compile(_refreshed(project(MODELS), "busiest"))
    fill(site, plan)
    (refresh,) = refreshes_of(plan).values()
    assert refresh.relation not in {c.subject for c in site.changes(plan)}
    Ledger(site.client, site.database).mark([refresh.relation], "dropped")
    (change,) = [c for c in site.changes(plan) if c.subject == refresh.relation]
    assert (change.kind, change.reason) == (Kind.CREATE_REFRESH, "an earlier deploy did not finish it")
