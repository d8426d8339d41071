"""Sources that change while rows come in: every row is there afterwards, once, in every state."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from realtime.deploy.apply import deploy
from realtime.deploy.options import Options
from realtime.deploy.promote import stage_views
from realtime.errors import CommandError, ConfigError
from realtime.ingest.writer import TROUBLE_CODES
from realtime.planner.ir import Plan
from realtime.project.manifest import Source
from tests.beside import beside
from tests.deploy.conftest import COLUMNS, MODELS, PER_ROOM, Site, project, source

ALLOWED = Options(destructive=True, keep_days=0)


@contextmanager
def writing(site: Site, columns: dict[str, str], number: int) -> Iterator[dict[str, list[str]]]:
    """One insert after the other, each tried again as the ingest server does; the ids that were acknowledged."""
    found = {"errors": list[str](), "ids": list[str]()}

    def write(stop: threading.Event) -> None:
        nonlocal number
        while not stop.wait(0.005):
            row = ", ".join(str(number) if kind != "varchar" else f"'r{number % 3}'" for kind in columns.values())
            for _ in range(40):
                try:
                    site.client.execute(
                        f"INSERT INTO {site.database}_raw.chat__messages ({', '.join(columns)}) VALUES ({row})"
                    )
                    found["ids"].append(str(number))
                    break
                except CommandError as error:
                    if not any(f"Code: {code}." in str(error) for code in TROUBLE_CODES):
                        found["errors"].append(str(error))
                        break
                    time.sleep(0.05)
            number += 1

    with beside(write):
        yield found


def changed(site: Site, of: Source, columns: dict[str, str], options: Options | None = None) -> Plan:
    """Deploys the source as ``of`` while rows of ``columns`` come in."""
    first = 1000 * len(site.said)
    with writing(site, columns, first) as found:
        time.sleep(0.1)
        plan = site.deploy(project(MODELS, of=of), options, build=stage_views)
        time.sleep(0.2)
    assert found["errors"] == []
    assert len(found["ids"]) > 10
    landing = f"{site.database}_raw.chat__messages"
    ids = [str(number) for (number,) in site.rows(f"SELECT id FROM {landing} WHERE id >= {first} ORDER BY id")]
    assert ids == found["ids"]
    wanted = site.rows(f"SELECT room, count(), sum(size) FROM {landing} GROUP BY room ORDER BY room")
    assert site.per_room() == wanted
    return plan


def test_widened_reordered_and_dropped_under_inserts(site: Site) -> None:
    narrow = dict(COLUMNS)
    site.deploy(project(MODELS, of=source(narrow)), build=stage_views)
    wide = {**narrow, "size": "bigint"}
    changed(site, source(wide, not_null=[]), narrow)
    site.client.execute(f"INSERT INTO {site.database}_raw.chat__messages (room, size) VALUES ('wide', 5000000000)")
    assert site.rows("SELECT total FROM {db}.per_room WHERE room = 'wide'") == [(5_000_000_000,)]

    changed(site, source(wide, not_null=[], order_by=["room", "id"], partition_by="room"), wide)
    keys = site.rows(
        "SELECT sorting_key, partition_key FROM system.tables WHERE database = '{db}_raw' AND name = 'chat__messages'"
    )
    assert keys == [("room, id", "room")]
    assert site.names("_raw") == ["chat__messages", "chat__messages__quarantine"]

    fewer = {name: kind for name, kind in wide.items() if name != "sender"}
    without = source(fewer, not_null=[], order_by=["room", "id"], partition_by="room")
    plan = site.compile(project(MODELS, of=without))
    with pytest.raises(ConfigError, match=r"drop column t\w+_raw\.chat__messages\.sender; nothing was changed"):
        deploy(site.settings, plan, site.client, site.said.append)
    changed(site, without, fewer, ALLOWED)
    assert "sender" not in dict(site.rows("SELECT name, type FROM system.columns WHERE database = '{db}_raw'"))


def test_a_state_may_begin_now_and_be_filled_later(site: Site) -> None:
    site.deploy(project({"ids": "select count(*) as n from memory.chat.messages"}), build=stage_views)
    site.insert(0, 9)
    models = {"per_room": PER_ROOM}
    site.deploy(project(models), Options(backfill=False), build=stage_views)
    assert site.per_room() == []
    assert any("holds rows from" in line for line in site.said)
    site.insert(9, 1)
    assert len(site.per_room()) == 1
    deploy(
        site.settings, site.compile(project(models)), site.client, site.said.append, Options(backfill=True), stage_views
    )
    assert [messages for _, messages, _ in site.per_room()] == [4, 3, 3]


def test_a_source_that_is_gone_keeps_its_rows_until_that_is_allowed(site: Site) -> None:
    plan = site.deploy(project({"per_room": PER_ROOM}), build=stage_views)
    site.insert(0, 3)
    empty = msgspec.structs.replace(plan, sources=(), steps=())
    deploy(site.settings, empty, site.client, site.said.append, Options(), stage_views)
    assert site.names("_raw") == ["chat__messages", "chat__messages__quarantine"]
    assert site.names("_state") == site.names("") == []
    assert site.said[-2].endswith(
        "chat__messages stays, though the project has no such source any more: --allow-destructive drops it"
    )
    deploy(site.settings, empty, site.client, site.said.append, ALLOWED, stage_views)
    assert site.names("_raw") == []


def test_vectors_of_another_size_where_there_are_no_rows_yet(site: Site) -> None:
    """The row of a deletion, which gives no vector, is of the new size too: the index takes no other."""
    for size in (2, 3):
        columns = {**COLUMNS, "v": f"float[{size}]"}
        indexes = [{"columns": "v", "type": "vector"}]
        site.deploy(project(MODELS, of=source(columns, indexes=indexes)), build=stage_views)
    landing = f"{site.database}_raw.chat__messages"
    site.client.execute(f"INSERT INTO {landing} (id, v) VALUES (1, [1, 2, 3])")
    site.client.execute(f"INSERT INTO {landing} (id) VALUES (2)")
    site.client.execute(f"OPTIMIZE TABLE {landing} FINAL")
    assert site.rows(f"SELECT v FROM {landing} ORDER BY id") == [([1, 2, 3],), ([0, 0, 0],)]
