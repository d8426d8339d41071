"""Temporary databases do not stay."""

from __future__ import annotations

import contextlib
import time

from realtime.clickhouse.client import ClickHouse
from realtime.testing.trial import drop_left_behind, temporary_database


def _there(client: ClickHouse) -> set[str]:
    rows = client.rows("SELECT name FROM system.databases WHERE startsWith(name, 'duet_test_')")
    return {row["name"] for row in rows}


def test_databases_go_with_the_block(clickhouse: ClickHouse) -> None:
    with contextlib.suppress(KeyboardInterrupt), temporary_database(clickhouse) as name:
        assert _there(clickhouse) == {name, f"{name}_raw", f"{name}_state"}
        raise KeyboardInterrupt
    assert _there(clickhouse) == set()


def test_databases_of_a_killed_run_go_later(clickhouse: ClickHouse) -> None:
    old, young = f"duet_test_{int(time.time()) - 7200}_ab_raw", f"duet_test_{int(time.time())}_ab"
    other = "duet_test_results"
    for name in (old, young, other):
        clickhouse.execute(f"CREATE DATABASE {name}")
    drop_left_behind(clickhouse)
    assert _there(clickhouse) == {young, other}
    for name in (young, other):
        clickhouse.execute(f"DROP DATABASE {name}")
