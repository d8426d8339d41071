"""A run of tests that is killed leaves no server behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

from realtime.daemon import Daemon
from tests.left_behind import MARK
from tests.server.running import until

_RUN = """
import sys, time
from pathlib import Path
from realtime.daemon import Daemon
from tests.left_behind import watch
watcher = watch()
assert watcher is not None
folder = Path(sys.argv[1])
serve = f"import time; from pathlib import Path; from realtime.daemon import announce; "
serve += f"announce(Path({str(folder / 'thing.ready')!r}), dict()); time.sleep(600)"
Daemon("thing", folder).start([sys.executable, "-c", serve])
print("started", flush=True)
time.sleep(600)
"""


def test_servers_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != MARK}
    with subprocess.Popen([sys.executable, "-c", _RUN, str(tmp_path)], stdout=subprocess.PIPE, env=env) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"started\n"
        record = Daemon("thing", tmp_path).running()
        assert record is not None
        server = psutil.Process(record.pid)
        run.kill()
    until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)
