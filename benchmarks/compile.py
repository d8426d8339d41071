"""Seconds that `duet compile` takes for a generated project of hundreds of models, beside `dbt parse` of the same one.

    python benchmarks/compile.py [--models N] [--runs N]

Runs alternate. The first case is cold on both sides: no target folder, so no partial parse of dbt's and no cache of
ours. The others are ours after one model has changed, and after nothing has, with dbt's partial parse beside them.
Medians are printed as one JSON object a line: wall seconds, CPU seconds of all processes (which other work on the
machine changes less), and the most memory that a compile held. Ours contains dbt's: a compile runs dbt, which parses
and renders the project in one process, and then plans the models in two.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from generated_project import write_project

DUET = "from realtime.cli import main; main()"
DBT = "from dbt.cli.main import cli; cli()"
_PEAK = "import resource, sys; peak = sum(resource.getrusage(w).ru_maxrss for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)); print(peak, file=sys.stderr)"  # noqa: E501
Taken = tuple[float, float]


def main() -> None:
    """Writes the project, measures, prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=500, help="models of the project")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_project(root, options.models)
        changed = sorted(root.glob("models/metrics/*.sql"))[0]

        def cold() -> None:
            shutil.rmtree(root / "target", ignore_errors=True)

        def one_changed() -> None:
            changed.write_text(changed.read_text() + "\n-- and once more\n")

        _measure("cold", root, options, cold, cold)
        _measure("one model changed", root, options, one_changed, one_changed)
        _measure("nothing changed", root, options, lambda: None, lambda: None)
        cold()
        print(json.dumps({"case": "peak memory", "ours": _peak(root), "limit": 1024, "unit": "MiB"}), flush=True)


def _measure(
    case: str,
    root: Path,
    options: argparse.Namespace,
    before_ours: Callable[[], None],
    before_theirs: Callable[[], None],
) -> None:
    taken: dict[str, list[Taken]] = {"ours": [], "theirs": []}
    sides: tuple[tuple[str, list[str], Callable[[], None]], ...] = (
        ("theirs", [sys.executable, "-c", DBT, "--quiet", "parse", "--profiles-dir", str(root)], before_theirs),
        ("ours", [sys.executable, "-c", DUET, "compile"], before_ours),
    )
    for _, (side, command, before) in itertools.product(range(options.runs), sides):
        before()
        taken[side].append(_run(command, root))
    for place, unit in enumerate(("s", "CPU s")):
        medians = {side: statistics.median(t[place] for t in runs) for side, runs in taken.items()}
        record = {"case": f"compile {options.models} models, {case}", **{k: round(v, 2) for k, v in medians.items()}}
        print(json.dumps({**record, "ratio": round(medians["ours"] / medians["theirs"], 2), "unit": unit}), flush=True)


def _run(command: list[str], root: Path) -> Taken:
    """Wall and CPU seconds of ``command`` and what it started."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=root, env=_environment(), check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu


def _peak(root: Path) -> int:
    """MiB of our process and of the largest other one: dbt's has ended when the second one that plans starts."""
    code = f"import atexit\natexit.register(lambda: exec({_PEAK!r}, {{}}))\n{DUET}"
    done = subprocess.run(
        [sys.executable, "-c", code, "compile"],
        cwd=root,
        env=_environment(),
        check=True,
        text=True,
        capture_output=True,
    )
    return int(done.stderr.splitlines()[-1]) // 1024


def _environment() -> dict[str, str]:
    return {**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}


if __name__ == "__main__":
    main()
