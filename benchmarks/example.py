"""The example project, copied to a folder of its own, so that a benchmark leaves nothing behind."""

from __future__ import annotations

import shutil
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_PROJECT = ("dbt_project.yml", "profiles", "models", "macros", "realtime/lambdas", "data_tests")


def copied(root: Path) -> Path:
    """Copies the project into ``root``, without data; ``root`` itself."""
    for part in _PROJECT:
        target = root / part
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (_ROOT / part).is_dir() else shutil.copy)(_ROOT / part, target)
    return root
