"""A deploy in a process of its own, so that it can be killed; it can also kill itself, at a chosen statement.

``python -m tests.deploy.child FOLDER HOST PORT [--dies MARK NUMBER] [--within] [--destructive] [--rollback MODEL]
[--backfill yes|no]``
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.compile import load_plan
from realtime.deploy.apply import deploy
from realtime.deploy.options import Options
from realtime.deploy.promote import build_staging, stage_views
from realtime.deploy.rollback import rollback
from realtime.errors import DuetError
from realtime.settings import Settings

ROOT = Path(__file__).parents[2]


def begun(client: ClickHouse, mark: str, run: Callable[[], object]) -> threading.Thread:
    """What ``run`` has ClickHouse do, which holds ``mark``, when that has begun, or is over."""

    def quietly() -> None:
        with contextlib.suppress(DuetError):
            run()

    thread = threading.Thread(target=quietly, daemon=True)
    thread.start()
    sql = "SELECT 1 FROM system.processes WHERE position(query, {mark:String}) > 0 AND query_id != queryID()"
    while thread.is_alive() and not client.value(sql, {"mark": mark}):
        pass
    return thread


class Dying(ClickHouse):
    """A client whose process is killed before the ``number``-th statement that holds ``mark``, or ``within`` it."""

    def __init__(self, endpoint: Endpoint, mark: str, number: int, *, within: bool = False) -> None:
        super().__init__(endpoint)
        self._within = within
        self._mark = mark
        self._left = number

    def execute(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        self._look(sql, lambda: ClickHouse.execute(self, sql, parameters, settings))
        super().execute(sql, parameters, settings)

    def insert(
        self, table: str, columns: list[str], rows: list[list[Any]], settings: Mapping[str, Any] | None = None
    ) -> None:
        self._look(f"INSERT INTO {table}")
        super().insert(table, columns, rows, settings)

    def stream(self, sql: str, body: Iterable[bytes], settings: Mapping[str, Any] | None = None) -> None:
        self._look(sql)
        super().stream(sql, body, settings)

    def _look(self, sql: str, run: Callable[[], object] = lambda: None) -> None:
        if self._mark in sql:
            self._left -= 1
            if not self._left:
                if self._within:
                    begun(self, self._mark, run)
                os.kill(os.getpid(), signal.SIGKILL)


def killed(folder: Path, endpoint: Endpoint, mark: str, number: int, *more: str) -> None:
    """Deploys what is compiled in ``folder``, without dbt, and is killed before the ``number``-th statement that holds
    ``mark``; AssertionError where it does not come so far."""
    command = [sys.executable, "-m", "tests.deploy.child", str(folder), endpoint.host, str(endpoint.port)]
    command += ["--dies", mark, str(number), *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, f"it was not killed at {mark!r}: {done.stdout} {done.stderr}"


def say(line: str) -> None:
    """Prints at once: the test acts on it."""
    print(line, flush=True)


def main() -> None:
    """Deploys the plan that is compiled in the folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--dies", nargs=2)
    parser.add_argument("--within", action="store_true")
    parser.add_argument("--destructive", action="store_true")
    parser.add_argument("--rollback")
    parser.add_argument("--backfill", choices=["yes", "no"])
    given = parser.parse_args()
    settings = Settings.load(given.folder, {})
    endpoint = Endpoint(host=given.host, port=given.port)
    client = ClickHouse(endpoint)
    if given.dies:
        client = Dying(endpoint, given.dies[0], int(given.dies[1]), within=given.within)
    if given.rollback:
        rollback(settings, client, load_plan(settings).database, given.rollback, say)
    else:
        options = Options.load(
            settings, destructive=given.destructive, backfill={"yes": True, "no": False}.get(given.backfill)
        )
        deploy(settings, load_plan(settings), client, say, options, stage_views if given.dies else build_staging)
    say("deployed")


if __name__ == "__main__":
    main()
