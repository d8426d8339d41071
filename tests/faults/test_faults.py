"""Servers and ClickHouse killed, the network cut, the disk full, versions redeployed, all under load: rows count once.

Deploys that are killed are in tests/deploy/test_killed.py, and all of it at random, for minutes, in `soak`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from realtime import services
from realtime.clickhouse import local
from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import find_endpoint
from realtime.deploy.apply import deploy
from realtime.deploy.backfill import BACKFILL
from realtime.deploy.diff import states_of
from realtime.deploy.promote import stage_views
from realtime.disk import kept_free
from realtime.errors import DuetError, FullError, UnavailableError
from realtime.ingest.request import Taken
from realtime.settings import Settings
from tests.deploy.conftest import message
from tests.faults.ground import DATABASE, Ground, ground, rooms_and_senders
from tests.faults.relay import Relay, crash, near
from tests.faults.senders import Senders
from tests.ingest.rows import ndjson
from tests.server.running import until

SECONDS = 1.0
EVENTS = "/v1/events/chat.messages"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ground, Senders]]:
    """One ground for all faults, which leave it whole."""
    with ground(tmp_path_factory.mktemp("faults"), servers=2) as found:
        yield found, Senders(found, 0)


def killed_server(on: Ground) -> None:
    on.kill_server(0)


def killed_clickhouse(on: Ground) -> None:
    on.kill_clickhouse()


def killed_both(on: Ground) -> None:
    on.kill_clickhouse()
    on.kill_server(0)
    on.kill_server(1)


def cut(on: Ground) -> None:
    """Answers are lost, after ClickHouse has done what it was asked for."""
    for _ in range(4):
        on.relay.lose = 5
        time.sleep(0.1)
    on.relay.lose = 0


def half(on: Ground) -> None:
    """Requests break off in the middle of their rows."""
    on.relay.halving = b"sender"
    time.sleep(0.5)
    on.relay.halving = b""


def hung(on: Ground) -> None:
    """Nothing gets through, and nobody is told."""
    on.relay.hanging = True
    time.sleep(1.0)
    on.relay.hanging = False


def redeployed(on: Ground) -> None:
    on.deploy()


def cut_while_redeployed(on: Ground) -> None:
    on.relay.losing = b"chat__messages"
    on.deploy()
    on.relay.losing = b""


FAULTS = (killed_server, killed_clickhouse, killed_both, cut, half, hung, redeployed, cut_while_redeployed)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_under_load(site: tuple[Ground, Senders], fault: Callable[[Ground], None]) -> None:
    on, before = site
    senders = Senders(on, 8, first=before.last)
    with senders.running():
        time.sleep(SECONDS / 2)
        fault(on)
        time.sleep(SECONDS / 2)
    before.last = senders.last
    before.acknowledged |= senders.acknowledged
    before.sent |= senders.sent
    until(on.is_whole, 30)  # what ClickHouse was killed in is sent on once the servers see that it is back
    on.verify(before.acknowledged, before.sent)
    assert senders.acknowledged


def test_what_did_not_reach_a_view_is_sent_on_after_a_restart(site: tuple[Ground, Senders]) -> None:
    on, before = site
    view = f"{DATABASE}_state.`{on.view('per_sender')}`"
    on.site.client.execute(f"DETACH TABLE {view} SYNC")
    with Senders(on, 4, first=before.last).running() as senders:
        time.sleep(SECONDS / 2)
    before.last, before.sent = senders.last, before.sent | senders.sent
    on.site.client.execute(f"ATTACH TABLE {view}")
    with pytest.raises(AssertionError):
        on.verify(set(), before.sent)
    on.kill_clickhouse()
    until(on.is_whole, 30)
    on.verify(before.acknowledged | senders.acknowledged, before.sent)


def test_two_kills_of_which_the_second_comes_before_all_is_sent_on(site: tuple[Ground, Senders]) -> None:
    on, before = site
    view = f"{DATABASE}_state.`{on.view('per_sender')}`"
    on.site.client.execute(f"DETACH TABLE {view} SYNC")
    on.servers[0].ask(EVENTS, ndjson(message(before.last)))
    on.site.client.execute(f"ATTACH TABLE {view}")
    before.sent.add(before.last)
    on.relay.holding = b"RowBinaryWithNamesAndTypes"
    on.kill_clickhouse()
    senders = Senders(on, 16, first=before.last + 1)
    with senders.running():
        time.sleep(2 * SECONDS)
        on.kill_clickhouse()
        on.relay.holding = b""
    before.last = senders.last
    before.acknowledged |= senders.acknowledged
    before.sent |= senders.sent
    until(on.is_whole, 30)
    on.verify(before.acknowledged, before.sent)


@pytest.mark.parametrize("lost", ["landing", "state"])
def test_a_kill_between_a_token_and_its_part(site: tuple[Ground, Senders], lost: str) -> None:
    """Tables know their tokens before they have their parts; what is sent again is stored all the same."""
    on, before = site
    plan = on.site.compile(rooms_and_senders(on.version))
    tables = [plan.sources[0].landing] if lost == "landing" else []
    tables += [state.relation for state in states_of(plan).values()]
    ids = range(before.last, before.last + 20)
    body, relay = ndjson(*map(message, ids)), Relay(on.endpoint)
    for table in tables:
        on.site.client.execute(f"SYSTEM STOP MERGES {table}")

    async def take(*, losing: bytes = b"") -> None:
        relay.losing = losing
        async with near(relay, plan) as intake:
            if losing:
                await crash(relay, intake, "chat.messages", body, f"lost {lost}")
            else:
                assert await intake.take("chat.messages", body, idempotency_key=f"lost {lost}") == Taken(20, 0)

    asyncio.run(take(losing=b"_raw.chat__messages+("))
    until(on.is_whole)
    parts = [on.newest_part(table) for table in tables]

    def lose() -> None:
        for part in parts:
            shutil.rmtree(part)

    on.kill_clickhouse(lose)
    asyncio.run(take())
    before.last, before.sent, before.acknowledged = ids.stop, before.sent | {*ids}, before.acknowledged | {*ids}
    until(on.is_whole, 30)
    on.verify(before.acknowledged, before.sent)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 160 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=160m", "none", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a disk that can be filled needs the right to mount one")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def full(disk: Path, left: int) -> None:
    """Fills ``disk`` but for ``left`` bytes, as another program would."""
    with (disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while shutil.disk_usage(disk).free > left:
            ballast.write(bytes(1 << 16))


def test_a_full_disk(small: Path, tmp_path: Path) -> None:
    with ground(tmp_path, data=small) as on:
        senders = Senders(on, 8)
        with senders.running():
            time.sleep(SECONDS / 2)
            full(small, 0)
            until(lambda: senders.errors)
            (small / "ballast").unlink()
            time.sleep(SECONDS)
        until(on.is_whole, 30)
        on.verify(senders.acknowledged, senders.sent)


def test_commands_on_a_full_disk(small: Path) -> None:
    """Each says which disk it is and how much room it lacks; nothing is left running or half started."""
    (small / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    (small / "profiles.yml").write_text("shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb}}}\n")
    settings = Settings.load(small, {"DUET_CLICKHOUSE_PORT": "0", "DUET_SERVER_PORT": "0"})
    full(small, 0)
    for command, said in (("up", f"the disk of {small}/.duet has 0.0 MiB free; ClickHouse needs 32.0 MiB there"),
                          ("compile", f"the disk of {small} is full: 0.0 MiB free")):  # fmt: skip
        found = duet(small, command)
        assert (found.returncode, found.stdout) == (1, "")
        assert said in found.stderr
        assert "Traceback" not in found.stderr
    assert local.daemon(settings).running() is None
    (small / "ballast").unlink()
    try:
        services.start(settings)
        assert services.status(settings).well
        full(small, kept_free(small) // 2)
        said = " ".join(duet(small, "status").stdout.split())  # it is wrapped
        assert "MiB free, and it takes rows from 16.0 MiB on" in said
        with ClickHouse(find_endpoint(settings)) as client:
            full(small, 0)
            with pytest.raises(UnavailableError):
                client.execute("INSERT INTO FUNCTION file('/dev/full', TSV, 'x Int64') SELECT 1")
        waits = f"waits for room: the disk of {small}/.duet/clickhouse has 0."
        for command in ("up", "deploy", "plan"):
            assert waits in " ".join(duet(small, command).stderr.split())
        assert waits in " ".join(duet(small, "status").stdout.split())
        with urllib.request.urlopen(f"{services.server_url(settings)}/healthz", timeout=10) as answer:
            assert answer.status == 200
        (small / "ballast").unlink()
        until(lambda: services.status(settings).well)
    finally:
        services.stop(settings)


def duet(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """The command line on ``project``."""
    run = [sys.executable, "-c", "from realtime.cli import main; main()", "--project-dir", str(project), *command]
    return subprocess.run(run, capture_output=True, text=True, check=False, timeout=120)


def test_a_disk_that_is_full_during_a_backfill(small: Path, tmp_path: Path) -> None:
    """So full that inserts are refused, and so full that ClickHouse ends until there is room."""
    with ground(tmp_path, servers=0, data=small) as on:
        on.site.insert(0, 2000)
        before = on.site.per_room()
        plan = on.site.compile(rooms_and_senders(on.version + 1))
        for left, expected in ((kept_free(small), FullError), (0, DuetError)):

            def fill(line: str, left: int = left) -> None:
                if line.startswith("backfill"):
                    full(small, left)

            with pytest.raises(expected) as raised:
                deploy(on.site.settings, plan, on.site.client, fill, build=stage_views)
            if left:
                assert "free space on it" in str(raised.value)
                assert on.site.per_room() == before
                assert not [name for name in on.site.names("_state") if BACKFILL in name]
            (small / "ballast").unlink()
            until(on.answers)
            assert on.site.per_room() == before
        assert on.deploy() == plan
        on.site.insert(2000, 10)
        assert on.site.changes(plan) == ()
        on.verify(set(range(2010)), set(range(2010)))
