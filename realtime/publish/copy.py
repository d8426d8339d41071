"""One model's rows, copied from batch into a table beside the one that is served, which it then replaces at once.

Nothing but the exchange is seen by readers. A copy that was killed leaves its table beside, which the next one drops;
the moment of the rows stands in the table's comment, so it changes with the rows.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import duckdb
import msgspec
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.moment import server_now
from realtime.deploy.replace import NEXT, put_in_place
from realtime.emit.ddl import create_published
from realtime.emit.names import literal, quoted
from realtime.errors import CommandError, ConfigError
from realtime.planner.ir import Step
from realtime.publish.batch import Batch, batch_rows
from realtime.publish.wire import wire_type
from realtime.settings import Settings
from realtime.transpile.types import duck_type

Advance = Callable[[int, int], None]

_MARK = "rows of batch as of "
_SETTINGS = {"session_timezone": "UTC", "date_time_overflow_behavior": "throw", "max_insert_threads": 1}


class Copied(msgspec.Struct, frozen=True):
    """A model that was copied: how many rows, and as of when batch has them."""

    model: str
    rows: int
    as_of: datetime

    def __str__(self) -> str:
        return f"{self.model}: {self.rows:,} rows published, as of {self.as_of:%Y-%m-%d %H:%M:%S}Z"


def copy_model(settings: Settings, client: ClickHouse, step: Step, advance: Advance) -> Copied:
    """Replaces the rows that ClickHouse has of ``step``, a published model, by those in batch; ``advance`` takes rows
    done and rows in all. One copy at a time: the caller holds the lock.

    NotBuiltError as `realtime.publish.batch.batch_rows`; ConfigError naming the column where ClickHouse can't hold a
    value; CommandError where ClickHouse refuses. Readers see the rows from before then.
    """
    published = step.published
    assert published is not None
    beside = published.relation + NEXT
    as_of = built_at(settings, step) or server_now(client)
    with batch_rows(settings, step) as batch:
        client.execute(f"DROP TABLE IF EXISTS {beside} SYNC")
        client.execute(create_published(published, step.columns, beside, f"{_MARK}{as_of.isoformat()}"))
        rows = load_rows(client, step, beside, batch, advance)
    put_in_place(client, published.relation)
    return Copied(step.model, rows, as_of)


def as_of(comment: str) -> datetime | None:
    """The moment that a published table's comment tells; None where it is of something else.

    >>> as_of("rows of batch as of 2024-05-01T12:00:00+00:00")
    datetime.datetime(2024, 5, 1, 12, 0, tzinfo=datetime.timezone.utc)
    """
    return datetime.fromisoformat(comment.removeprefix(_MARK)) if comment.startswith(_MARK) else None


def built_at(settings: Settings, step: Step) -> datetime | None:
    """When dbt began to build the model, as its last run's results tell; None where that run was of other models."""
    try:
        results = json.loads((settings.project_dir / "target" / "run_results.json").read_text())["results"]
        found = next(r for r in results if r["unique_id"] == step.unique_id and r["status"] == "success")
        moment = datetime.fromisoformat(next(t for t in found["timing"] if t["name"] == "execute")["started_at"])
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def load_rows(client: ClickHouse, step: Step, table: str, batch: Batch, advance: Advance) -> int:
    """Puts the rows into ``table``, which is empty; how many they are."""
    kinds = [duck_type(c.type) for c in step.columns]
    names = ", ".join(quoted(c.name) for c in step.columns)
    values = ", ".join(f"CAST(c{i}, {literal(c.clickhouse)})" for i, c in enumerate(step.columns))
    wire = ", ".join(f"c{i} {wire_type(kind)}" for i, kind in enumerate(kinds))
    advance(0, batch.total)
    client.stream(
        f"INSERT INTO {table} ({names}) SELECT {values} FROM input({literal(wire)}) FORMAT ArrowStream",
        _blocks(step, batch, advance),
        settings=_SETTINGS,
    )
    stored = int(client.value(f"SELECT count() FROM {table}"))
    if stored != batch.total:
        raise CommandError(
            f"model {step.model}: batch has {batch.total:,} rows, {stored:,} arrived",
            remedy="let nothing else write to the batch relation meanwhile, and publish again",
        )
    return stored


def _blocks(step: Step, batch: Batch, advance: Advance) -> Iterator[bytes]:
    """The rows as an Arrow stream, piece by piece; ConfigError where batch fails on a row."""
    sink, done = io.BytesIO(), 0
    with pa.ipc.new_stream(sink, batch.rows.schema) as writer:
        for rows in _read(step, batch):
            writer.write_batch(rows)
            yield sink.getvalue()
            sink.seek(0)
            sink.truncate()
            done += rows.num_rows
            advance(done, batch.total)
    yield sink.getvalue()


def _read(step: Step, batch: Batch) -> Iterator[pa.RecordBatch]:
    try:
        yield from batch.rows
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise _failed(step, error) from None


def _failed(step: Step, error: Exception) -> ConfigError:
    words = " ".join(str(error).split()).removeprefix("Invalid Input Error: ")
    return ConfigError(
        words if words.startswith(f"model {step.model}") else f"model {step.model} can't be read from batch: {words}",
        remedy="mend the model, build it again (duet batch) and publish it: duet publish",
    )
