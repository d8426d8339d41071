"""Deploys that are killed without warning, and continued."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from realtime.deploy.lock import exclusive
from realtime.emit.landing import landing_ddl
from realtime.errors import BusyError
from tests.beside import beside
from tests.deploy.conftest import MODELS, Site, project
from tests.server.running import until

ROOT = Path(__file__).parents[2]
# Lines that a deploy reports, in their order; "create state" comes before anything is made.
STAGES = ("create state", "backfill", "dbt")
# Killed as soon as a line begins so (or a later one, where an earlier try got further), or some seconds after it.
MOMENTS = (("create state", 0.0), ("create state", 0.15), ("backfill", 0.0), ("backfill", 0.1), ("dbt", 1.0))


def test_killed_at_several_steps_and_run_again(site: Site) -> None:
    plan = site.compile(project(MODELS))
    site.client.execute(f"CREATE DATABASE {site.database}_raw")
    for statement in landing_ddl(plan.sources[0]):
        site.client.execute(statement)
    _bulk(site, 3, 900_000)
    with beside(functools.partial(_write, site)):
        for line, delay in MOMENTS:
            _deploy_until(site, line, delay)
        site.deploy(project(MODELS))
    landing = f"{site.database}_raw.chat__messages"
    wanted = site.rows(f"SELECT room, count(), sum(size) FROM {landing} GROUP BY room ORDER BY room")
    assert site.per_room() == wanted
    state = plan.steps[0].states[0]
    assert site.names("_state") == [r.split(".")[1] for r in (state.relation, state.views[0].name)]
    assert site.rows("SELECT name FROM system.databases WHERE startsWith(name, '{db}_staging')") == []


def _deploy_until(site: Site, line: str, delay: float) -> None:
    """Kills a deploy, and what it runs, ``delay`` seconds after it says ``line``; before that it holds the lock."""
    with _child(site) as process:
        assert process.stdout is not None
        seen = []
        for text in process.stdout:
            seen.append(text)
            if text.startswith(STAGES[STAGES.index(line) :]):
                break
        else:
            raise AssertionError(f"no line {line!r} in {seen}")
        if delay:
            with pytest.raises(BusyError, match="another deploy"), exclusive(site.client, site.database, patience=0.2):
                pass
        time.sleep(delay)


@contextlib.contextmanager
def _child(site: Site) -> Iterator[subprocess.Popen[str]]:
    endpoint = site.client.endpoint
    command = [sys.executable, "-m", "tests.deploy.child"]
    command += [str(site.settings.project_dir), endpoint.host, str(endpoint.port)]
    process = subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        until(lambda: not _group(process.pid), 5)  # its dbt goes with it
        assert process.stdout is not None
        process.stdout.close()


def _group(leader: int) -> list[psutil.Process]:
    """What lives of the processes that ``leader`` started."""
    found = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(process.pid) == leader and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _bulk(site: Site, inserts: int, rows: int) -> None:
    """Many rows, each insert with a time of its own, so that they make as many chunks."""
    for i in range(inserts):
        values = "number, concat('room ', toString(number % 5)), 'bulk', number % 13"
        site.client.execute(
            f"INSERT INTO {site.database}_raw.chat__messages (id, room, sender, size) "
            f"SELECT {values} FROM numbers({i * rows}, {rows})"
        )
        time.sleep(0.11)


def _write(site: Site, stop: threading.Event) -> None:
    first = 10_000_000
    while not stop.wait(0.01):
        site.insert(first, 2, token=str(first))
        first += 2
