"""Waiting for another process of the same project."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from realtime.errors import BusyError
from realtime.settings import Settings
from realtime.turn import BATCH, EXPORT, turn


def test_the_second_waits_and_says_for_whom(tmp_path: Path) -> None:
    settings, said, order = Settings.load(tmp_path, {}), list[str](), list[str]()
    waiting = threading.Event()

    def report(line: str) -> None:
        said.append(line)
        waiting.set()

    def second() -> None:
        with turn(settings, BATCH, 30, report):
            order.append("second")

    other = threading.Thread(target=second)
    with turn(settings, BATCH), turn(settings, EXPORT):
        other.start()
        assert waiting.wait(10)
        order.append("first")
    other.join()
    assert order == ["first", "second"]
    assert said == [f"waiting: another run (process {os.getpid()}) works in the batch database; for at most 30 s"]


def test_patience_ends(tmp_path: Path) -> None:
    settings = Settings.load(tmp_path, {})
    with (
        turn(settings, EXPORT),
        pytest.raises(BusyError, match=r"writes to the lake, still after 0\.2 s"),
        turn(settings, EXPORT, 0.2),
    ):
        pass
