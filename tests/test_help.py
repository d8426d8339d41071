"""What `duet --help` shows: commands in groups, each told in a sentence."""

from __future__ import annotations

import typer.main

from realtime.cli import app

LONGEST = 150


def test_every_command_is_in_a_group_and_told_briefly() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert {c.rich_help_panel for c in commands.values()} == {"Servers", "Models", "Rows", "Checks", "Calls"}
    for name, command in commands.items():
        first = (command.help or "").split("\n\n")[0]
        assert 10 < len(first) <= LONGEST, f"{name}: {len(first)}"
