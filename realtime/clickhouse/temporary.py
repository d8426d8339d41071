"""Databases of one run: they are dropped when it ends, or, where it was killed, by a later one."""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections.abc import Iterator

from realtime.clickhouse.client import ClickHouse

_PREFIX = "duet_{}_"
_NAME = re.compile(r"_(\d+)_[0-9a-f]+(_raw|_state)?\Z")


@contextlib.contextmanager
def temporary_database(client: ClickHouse, purpose: str) -> Iterator[str]:
    """The name of a database that is there with its companions ``_raw`` and ``_state``, until the block ends;
    ``purpose`` is part of it."""
    name = f"{_PREFIX.format(purpose)}{int(time.time())}_{uuid.uuid4().hex[:8]}"
    names = [name, f"{name}_raw", f"{name}_state"]
    try:
        for each in names:
            client.execute(f"CREATE DATABASE {each}")
        yield name
    finally:
        for each in names:
            client.execute(f"DROP DATABASE IF EXISTS {each} SYNC")


def drop_left_behind(client: ClickHouse, purpose: str, seconds: int) -> None:
    """Drops the databases of runs for ``purpose`` that began more than ``seconds`` ago: they were killed."""
    prefix = _PREFIX.format(purpose)
    for row in client.rows(
        "SELECT name FROM system.databases WHERE startsWith(name, {prefix:String})", {"prefix": prefix}
    ):
        made = _NAME.fullmatch(row["name"].removeprefix(prefix[:-1]))
        if made and int(made[1]) < time.time() - seconds:
            client.execute(f"DROP DATABASE IF EXISTS {row['name']} SYNC")
