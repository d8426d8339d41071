"""`duet compile` on projects whose adapter is missing or unknown: said before dbt runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from realtime.compile import compile_project
from realtime.dialects.adapters import ADAPTERS
from realtime.dialects.translate import DIALECTS
from realtime.errors import ConfigError
from realtime.settings import Settings


@pytest.mark.parametrize(
    ("adapter", "words", "remedy"),
    [("spark", "dbt-spark is not installed", "pip install dbt-spark"), ("fabric", "written for fabric", "one of")],
)
def test_adapter(adapter: str, words: str, remedy: str, tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    (tmp_path / "profiles.yml").write_text(f"shop: {{target: dev, outputs: {{dev: {{type: {adapter}}}}}}}\n")
    with pytest.raises(ConfigError, match=words) as error:
        compile_project(Settings.load(tmp_path, {}))
    assert remedy in error.value.remedy


def test_every_dialect_is_of_an_adapter() -> None:
    assert sorted([*DIALECTS, "duckdb"]) == list(ADAPTERS)
