"""Deploying one version after another with the real dbt-clickhouse, under inserts and readers."""

from __future__ import annotations

import threading
import time

import pytest

from realtime.deploy.apply import deploy
from realtime.deploy.diff import Kind
from realtime.deploy.live import active_plan
from realtime.deploy.promote import rendered, staging_database, swap_to_staging
from realtime.errors import CommandError
from tests.deploy.conftest import (
    BUSIEST,
    COLUMNS,
    MODELS,
    PER_ROOM,
    PER_SENDER,
    Site,
    batch_per_room,
    generic_test,
    message,
    project,
    source,
)

# `busiest` reads a column that the new `per_room` does not have: no view may ever read the other version's one.
RENAMED = {
    "per_room": "select room, count(*) as n, sum(size) as total, max(size) as largest from memory.chat.messages "
    "group by room",
    "busiest": "select max(n) as most, sum(n) as all_messages from memory.main.per_room",
}


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

    with Load(site, first=100) as load:
        site.deploy(project({**RENAMED, "per_sender": PER_SENDER}))
        time.sleep(0.2)
    assert load.errors == []
    assert load.reads > 20
    rows = site.rows("SELECT room, n, total FROM {db}.per_room ORDER BY room")
    assert rows == batch_per_room(load.inserted)
    _nothing_is_left_over(site, views=["busiest", "per_room", "per_sender"])

    _added_column_and_dropped_model(site, load.inserted)


def _failing_test_keeps_the_old_version(site: Site) -> None:
    one_room = generic_test("accepted_values", "per_room", "room", values=["room 0"])
    plan = site.compile(project({"per_room": RENAMED["per_room"]}, [one_room]))
    with pytest.raises(CommandError, match="accepted_values_per_room_room") as caught:
        deploy(site.settings, plan, site.client, site.said.append)
    assert staging_database(plan) in caught.value.remedy
    assert site.per_room() == batch_per_room(100)
    assert Kind.DROP_STAGING in {change.kind for change in site.changes(plan)}


def _added_column_and_dropped_model(site: Site, rows: int) -> None:
    wider = source({**COLUMNS, "country": "varchar"})
    per_country = {"per_country": "select country, count(*) as n from memory.chat.messages group by country"}
    site.deploy(project({**RENAMED, **per_country}, of=wider))
    landing = f"{site.database}_raw.chat__messages"
    site.client.execute(f"INSERT INTO {landing} (id, country) VALUES ({rows}, 'no')")
    assert site.rows("SELECT country, n FROM {db}.per_country ORDER BY n") == [("no", 1), (None, rows)]
    _nothing_is_left_over(site, views=["busiest", "per_country", "per_room"])


def _nothing_is_left_over(site: Site, views: list[str]) -> None:
    plan = active_plan(site.client, site.database)
    assert plan is not None
    states = [state for step in plan.steps for state in step.states]
    wanted = [s.relation for s in states] + [view.name for s in states for view in s.views]
    assert site.names("_state") == sorted(name.split(".")[1] for name in wanted)
    assert site.names("") == views
    databases = site.rows("SELECT name FROM system.databases WHERE startsWith(name, '{db}_staging')")
    assert databases == []


def test_a_swap_that_was_stopped_is_finished_without_testing_again(site: Site) -> None:
    site.deploy(project({"per_room": PER_ROOM}))
    site.insert(0, 10)
    plan = site.compile(project({"per_room": f"{PER_ROOM} having count(*) > 0", "busiest": BUSIEST}))
    site.client.execute(f"CREATE DATABASE {staging_database(plan)}")
    for step in plan.steps:
        select = rendered(step, site.database, staging_database(plan))
        site.client.execute(f"CREATE VIEW {staging_database(plan)}.{step.model} AS {select}")
    swap_to_staging(site.client, plan)
    assert "an earlier deploy did not finish it" in {change.reason for change in site.changes(plan)}
    site.said.clear()
    deploy(site.settings, plan, site.client, site.said.append)
    assert not [line for line in site.said if line.startswith("dbt")]
    assert site.changes(plan) == ()
    assert site.per_room() == batch_per_room(10)
    _nothing_is_left_over(site, views=["busiest", "per_room"])


class Load:
    """A writer and a reader beside a deploy. The reader expects every row that was acknowledged before it asked."""

    def __init__(self, site: Site, first: int) -> None:
        self.site = site
        self.inserted = first
        self.reads = 0
        self.errors: list[str] = []
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

    def _run(self, work: object) -> None:
        assert callable(work)
        while not self._stop.is_set():
            try:
                work()
            except Exception as error:
                self.errors.append(str(error))

    def _write(self) -> None:
        count = 1 + self.inserted % 4
        self.site.insert(self.inserted, count, token=f"from {self.inserted}")
        self.inserted += count
        time.sleep(0.005)

    def _read(self) -> None:
        acknowledged = self.inserted
        (most, everything) = self.site.rows("SELECT most, all_messages FROM {db}.busiest")[0]
        if not acknowledged <= everything <= self.inserted + 4:
            self.errors.append(f"{acknowledged} rows were in, a reader saw {everything} (most {most})")
        self.reads += 1


def test_messages_are_spread_over_rooms() -> None:
    assert {message(i)["room"] for i in range(9)} == {"room 0", "room 1", "room 2"}
