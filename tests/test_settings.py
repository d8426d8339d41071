"""The table of settings, and that the docs list it."""

from __future__ import annotations

from pathlib import Path

import pytest

from realtime.errors import ConfigError
from realtime.settings import SETTINGS, Settings

DOCS = Path(__file__).parents[1] / "docs" / "settings.md"


def test_defaults_and_environment(tmp_path: Path) -> None:
    settings = Settings.load(tmp_path, {"DUET_SERVER_PORT": "0"})
    assert settings.number("DUET_SERVER_PORT") == 0
    assert settings.number("DUET_CLICKHOUSE_PORT") == 18123
    assert settings.lake_dir == tmp_path / "lake"


def test_number_that_is_none(tmp_path: Path) -> None:
    settings = Settings.load(tmp_path, {"DUET_SERVER_PORT": "http"})
    with pytest.raises(ConfigError, match="DUET_SERVER_PORT is 'http', which is not a whole number"):
        settings.number("DUET_SERVER_PORT")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_every_setting_is_documented(setting: object) -> None:
    assert isinstance(setting, type(SETTINGS[0]))
    default = f"`{setting.default}`" if setting.default else ""
    assert f"| `{setting.name}` | {default} | {setting.help} |" in DOCS.read_text()
