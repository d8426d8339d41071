"""Moments to the microsecond, as ClickHouse's clock tells them.

They travel as whole microseconds since 1970: no time zone of a driver, a session or this machine can shift them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from realtime.clickhouse.client import ClickHouse

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """Microseconds since 1970; a moment without time zone is in UTC.

    >>> micros(datetime(1970, 1, 1, 0, 0, 1, 5))
    1000005
    """
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (aware - EPOCH) // timedelta(microseconds=1)


def from_micros(value: int) -> datetime:
    """The moment in UTC.

    >>> from_micros(1000005).isoformat()
    '1970-01-01T00:00:01.000005+00:00'
    """
    return EPOCH + timedelta(microseconds=value)


def clocks(client: ClickHouse) -> tuple[datetime, datetime]:
    """What the servers' clocks say, in UTC: the one that is behind the others, and the one that is ahead of them. On a
    server that stands alone both are its own."""
    # `now64` would be the clock of the server that is asked, wherever it is called.
    servers = client.endpoint.everywhere("system.one")
    each = f"SELECT toUnixTimestamp64Micro(nowInBlock64(6, 'UTC')) AS now FROM {servers}"
    (row,) = client.rows(f"SELECT min(now) AS first, max(now) AS last FROM ({each})")
    return from_micros(int(row["first"])), from_micros(int(row["last"]))


def next_moment(client: ClickHouse, table: str) -> datetime:
    """The time ``at`` of the next record in ``table``: now, or just after the newest where the server's clock was set
    back since; so the record that was made last is the last one."""
    newest = f"SELECT toUnixTimestamp64Micro(max(at)) FROM {table}"
    return from_micros(int(client.value(f"SELECT greatest(toUnixTimestamp64Micro(now64(6, 'UTC')), ({newest}) + 1)")))


def server_now(client: ClickHouse) -> datetime:
    """What the server's clock says, in UTC: the clock that stamps ``_ingested_at`` of rows that are sent to it."""
    return from_micros(int(client.value("SELECT toUnixTimestamp64Micro(now64(6, 'UTC'))")))
