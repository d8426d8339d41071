"""One lambda answered by both engines: over HTTP as applications call it, and by the batch engine."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import msgspec
from sqlglot import exp

from realtime.errors import CommandError
from realtime.parity.matching import RELATIVE_TOLERANCE
from realtime.planner.ir import LambdaSpec
from realtime.serving.batch import answer
from realtime.serving.client import all_pages, run_lambda
from realtime.transpile.form import column, quote, text

CALLS, BATCH_CALLS = 15, 3
Rows = list[tuple[Any, ...]]


class Answered(msgspec.Struct, frozen=True):
    """Rows of both engines in the lambda's order, and the median time of a call in milliseconds."""

    name: str
    params: Mapping[str, Any]
    columns: tuple[str, ...]
    realtime: Rows
    batch: Rows
    realtime_ms: float
    batch_ms: float

    @property
    def equal(self) -> bool:
        """Whether the rows are the same; floats may differ by `RELATIVE_TOLERANCE`, relatively."""
        return len(self.realtime) == len(self.batch) and all(
            _same(ours, theirs) for ours, theirs in zip(self.realtime, self.batch, strict=True)
        )


def answers(
    spec: LambdaSpec, params: Mapping[str, Any], server_url: str, duckdb_path: Path, token: str = ""
) -> Answered:
    """Asks both, the server with ``token`` and for all pages. CommandError with the server's words where it refuses."""
    calls = [_timed(lambda: _body(server_url, spec, params, token)) for _ in range(CALLS)]
    pages = all_pages(server_url, spec.name, params, version=spec.version, token=token)
    realtime = _typed(b"".join(pages), spec)
    asked = [_timed(lambda: answer(spec, params, duckdb_path)) for _ in range(BATCH_CALLS)]
    return Answered(
        name=spec.name,
        params=params,
        columns=tuple(c.name for c in spec.columns),
        realtime=realtime,
        batch=[tuple(row.values()) for row in asked[0][1]],
        realtime_ms=statistics.median(milliseconds for milliseconds, _ in calls),
        batch_ms=statistics.median(milliseconds for milliseconds, _ in asked),
    )


def _timed(run: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    found = run()
    return (time.perf_counter() - start) * 1000, found


def _body(server_url: str, spec: LambdaSpec, params: Mapping[str, Any], token: str) -> bytes:
    status, body = run_lambda(server_url, spec.name, params, version=spec.version, token=token)
    if status != 200:
        raise CommandError(f"lambda {spec.name} answered {status}: {body.decode(errors='replace')}")
    return body


def _typed(ndjson: bytes, spec: LambdaSpec) -> Rows:
    """Rows of an answer in the lambda's declared types. Each value is read as the text that was sent: DuckDB
    would take a wide number for a float otherwise."""
    texts = exp.Struct(
        expressions=[exp.PropertyEQ(this=quote(c.name), expression=text("VARCHAR")) for c in spec.columns]
    )
    columns = [exp.cast(column(c.name), c.type, dialect="duckdb") for c in spec.columns]
    with tempfile.NamedTemporaryFile(suffix=".ndjson") as file, duckdb.connect() as connection:
        file.write(ndjson)
        file.flush()
        given = exp.PropertyEQ(this=exp.to_identifier("columns"), expression=texts)
        query = exp.select(*columns).from_(exp.func("read_json", text(file.name), given))
        return connection.execute(query.sql("duckdb")).fetchall()


def _same(ours: Sequence[Any], theirs: Sequence[Any]) -> bool:
    return all(_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=RELATIVE_TOLERANCE) or (math.isnan(a) and math.isnan(b))
    return bool(a == b) and type(a) is type(b)
