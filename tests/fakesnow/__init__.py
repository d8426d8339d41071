"""Snowflake statements without Snowflake: fakesnow runs them on a DuckDB of its own, in a Python of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_PYTHON = _ROOT / ".fakesnow" / "bin" / "python"


def answers(setup: Sequence[str], queries: Sequence[str]) -> list[dict[str, Any]]:
    """What each of ``queries`` gives after ``setup``: its ``rows`` or its ``error``."""
    assert _PYTHON.exists(), ".fakesnow is missing: `make test` sets it up"
    done = subprocess.run(
        [_PYTHON, Path(__file__).with_name("run.py")],
        input=json.dumps({"setup": setup, "queries": queries}),
        text=True, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found
