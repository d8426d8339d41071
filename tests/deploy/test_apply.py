"""Deploying one version after another with the real dbt-clickhouse, under inserts and readers."""

from __future__ import annotations

import time

import pytest

from realtime.deploy.apply import deploy
from realtime.deploy.change import Kind
from realtime.deploy.diff import kept_objects
from realtime.deploy.live import active_plan, read_live
from realtime.deploy.promote import stage_views, staging_database, swap_to_staging
from realtime.errors import CommandError
from tests.deploy.conftest import (
    BUSIEST,
    COLUMNS,
    MODELS,
    PER_SENDER,
    RENAMED,
    Load,
    Site,
    batch_per_room,
    generic_test,
    project,
    source,
)

WIDER = source({**COLUMNS, "country": "varchar"})


def test_versions_follow_each_other(site: Site) -> None:
    first = site.deploy(project({**MODELS, "per_sender": PER_SENDER}))
    assert active_plan(site.client, site.database) == first
    site.said.clear()
    site.deploy(project({**MODELS, "per_sender": PER_SENDER}))
    assert site.said == ["nothing to do: the server runs this project as it is"]
    site.insert(0, 100)
    _failing_test_keeps_the_old_version(site)
    site.deploy(project({**MODELS, "per_sender": PER_SENDER}))
    _nothing_is_left_over(site, views=["busiest", "per_room", "per_sender"])

    with Load(site, first=100, pause=0.02) as load:
        site.deploy(project({**RENAMED, "per_sender": PER_SENDER}))
        time.sleep(0.2)
    assert load.errors == []
    assert load.reads > 5
    rows = site.rows("SELECT room, n, total FROM {db}.per_room ORDER BY room")
    assert rows == batch_per_room(load.inserted)
    _nothing_is_left_over(site, views=["busiest", "per_room", "per_sender"])

    _added_column_and_dropped_model(site, load.inserted)
    _stopped_swap_is_finished_without_testing_again(site)


def _failing_test_keeps_the_old_version(site: Site) -> None:
    one_room = generic_test("accepted_values", "per_room", "room", values=["room 0"])
    plan = site.compile(project({"per_room": RENAMED["per_room"]}, [one_room]))
    with pytest.raises(CommandError, match="accepted_values_per_room_room") as caught:
        deploy(site.settings, plan, site.client, site.said.append)
    assert staging_database(plan) in caught.value.remedy
    assert site.per_room() == batch_per_room(100)
    assert Kind.DROP_STAGING in {change.kind for change in site.changes(plan)}


def _added_column_and_dropped_model(site: Site, rows: int) -> None:
    per_country = {"per_country": "select country, count(*) as n from memory.chat.messages group by country"}
    site.deploy(project({**RENAMED, **per_country}, of=WIDER))
    landing = f"{site.database}_raw.chat__messages"
    site.client.execute(f"INSERT INTO {landing} (id, country) VALUES ({rows}, 'no')")
    assert site.rows("SELECT country, n FROM {db}.per_country ORDER BY n") == [("no", 1), (None, rows)]
    _nothing_is_left_over(site, views=["busiest", "per_country", "per_room"])


def _nothing_is_left_over(site: Site, views: list[str]) -> None:
    plan = active_plan(site.client, site.database)
    assert plan is not None
    states = [state for step in plan.steps for state in step.states]
    wanted = {s.relation for s in states} | {view.name for s in states for view in s.views}
    wanted |= kept_objects(read_live(site.client, site.database).kept).keys()
    assert site.names("_state") == sorted(name.split(".")[1] for name in wanted)
    assert site.names("") == views
    databases = site.rows("SELECT name FROM system.databases WHERE startsWith(name, '{db}_staging')")
    assert databases == []


def _stopped_swap_is_finished_without_testing_again(site: Site) -> None:
    plan = site.compile(project({**RENAMED, "busiest": BUSIEST.replace("(messages)", "(n)")}, of=WIDER))
    stage_views(site.settings, site.client, plan)
    swap_to_staging(site.client, plan)
    assert "an earlier deploy did not finish it" in {change.reason for change in site.changes(plan)}
    site.said.clear()
    deploy(site.settings, plan, site.client, site.said.append)
    assert not [line for line in site.said if line.startswith("dbt")]
    assert site.changes(plan) == ()
    _nothing_is_left_over(site, views=["busiest", "per_room"])
