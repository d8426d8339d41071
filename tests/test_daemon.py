"""Processes that outlive their command: a real Python process stands for the server."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from realtime.daemon import Daemon, Record
from realtime.errors import CommandError

_SERVE = """
import sys, time
from pathlib import Path
from realtime.daemon import announce
announce(Path(sys.argv[1]), {"port": 7})
print("serving", flush=True)
time.sleep(60)
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon("thing", tmp_path / "state")


def _command(daemon: Daemon) -> list[str]:
    return [sys.executable, "-c", _SERVE, str(daemon.ready)]


def test_start_and_stop(daemon: Daemon) -> None:
    record = daemon.start(_command(daemon))
    assert record.details == {"port": 7}
    assert daemon.running() == record
    assert daemon.stop()
    assert daemon.running() is None
    assert not psutil.pid_exists(record.pid) or psutil.Process(record.pid).status() == psutil.STATUS_ZOMBIE
    assert not daemon.stop()


def test_second_start_finds_the_first(daemon: Daemon) -> None:
    records: list[Record] = []
    threads = [threading.Thread(target=lambda: records.append(daemon.start(_command(daemon)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    daemon.stop()
    assert len({r.pid for r in records}) == 1


def test_a_process_that_can_not_be_recorded_is_ended(daemon: Daemon) -> None:
    (daemon.folder / "thing.json.new").mkdir(parents=True)
    with pytest.raises(OSError, match=r"thing\.json\.new"):
        daemon.start(_command(daemon))
    assert not [p for p in psutil.Process().children() if str(daemon.ready) in _words(p)]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_killed_process_is_not_running(daemon: Daemon) -> None:
    record = daemon.start(_command(daemon))
    os.kill(record.pid, signal.SIGKILL)
    psutil.Process(record.pid).wait(5)
    assert daemon.running() is None
    assert daemon.start(_command(daemon)).pid != record.pid
    daemon.stop()


def test_reused_pid_is_not_ours(daemon: Daemon) -> None:
    daemon.folder.mkdir()
    other = {"pid": os.getpid(), "created": psutil.Process().create_time() - 100, "ready": True}
    (daemon.folder / "thing.json").write_text(json.dumps(other))
    assert daemon.running() is None
    assert not daemon.stop()


def test_start_that_was_killed_leaves_no_orphan(daemon: Daemon) -> None:
    starting = f"""
from pathlib import Path
from realtime.daemon import Daemon
Daemon("thing", Path({str(daemon.folder)!r})).start([{sys.executable!r}, "-c", "import time; time.sleep(60)"])
"""
    starter = psutil.Popen([sys.executable, "-c", starting])
    record = daemon.folder / "thing.json"
    while not record.exists() and starter.is_running():
        time.sleep(0.01)
    orphan = psutil.Process(json.loads(record.read_bytes())["pid"])
    starter.kill()
    starter.wait(5)
    assert daemon.running() is None
    assert daemon.stop()
    assert not orphan.is_running()


def test_failing_start_shows_the_log(daemon: Daemon) -> None:
    with pytest.raises(CommandError, match=r"ended with status 3 while starting:\n  no such luck"):
        daemon.start([sys.executable, "-c", "import sys; print('no such luck'); sys.exit(3)"])
    assert daemon.running() is None


def test_start_that_never_gets_ready(daemon: Daemon) -> None:
    with pytest.raises(CommandError, match="is not ready after"):
        daemon.start([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.5)
    alive = [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]
    assert not [p for p in alive if "sleep(60)" in " ".join(p.cmdline())]
