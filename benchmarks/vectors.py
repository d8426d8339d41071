"""The nearest vectors by an index, beside the same lambda over all rows, which is exact.

    python benchmarks/vectors.py [--vectors N] [--size N] [--queries N] [--spread X]

Of each of two sources, one that is appended to and one that is upserted, with a fifth of its rows replaced, two lambdas
ask for the ten nearest by cosine: one exact, one with `approximate: true`. Vectors lie around a thousand centers, the
further from them the greater the spread. Both sides are what the server sends, on one thread; they alternate. Printed
is one JSON object a source: medians of milliseconds and of CPU milliseconds, the index's as a ratio of the exact side's
(less is better), the share of the nearest that it found (recall), how often it left too few rows, so that all would be
read, and the CPU milliseconds that a thousand rows took to insert, with and without the index.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import find_endpoint
from realtime.clickhouse.local import daemon, start
from realtime.compile import compile_project
from realtime.deploy.apply import deploy
from realtime.planner.ir import LambdaSpec, Plan, SourceSpec
from realtime.serving.limits import Limits
from realtime.serving.upstream import settings as sent_settings
from realtime.settings import Settings

ROOT = Path(__file__).parents[1]
K, CENTERS = 10, 1_000
SOURCES: dict[str, dict[str, Any]] = {
    "items": {"mode": "append"},
    "docs": {"mode": "upsert", "key": "id", "version": "version"},
}


class Side(NamedTuple):
    """What one query took, and the rows it gave."""

    ms: float
    cpu_ms: float
    rows: list[tuple[Any, ...]]


def main() -> None:
    """Measures both sources."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vectors", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=128, help="numbers of a vector")
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--spread", type=float, default=1.0, help="deviation from the centers, whose own is 1")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), options.size)
        settings = Settings.load(Path(folder), {"DUET_CLICKHOUSE_PORT": "0", "DUET_SERVER_PORT": "0"})
        try:
            start(settings)
            plan = compile_project(settings).plan
            with ClickHouse(find_endpoint(settings)) as client:
                deploy(settings, plan, client, lambda text: None)
                for source in plan.sources:
                    print(json.dumps(_measure(client, plan, source, options)), flush=True)
        finally:
            daemon(settings).stop()


def _write(root: Path, size: int) -> None:
    """The project's files."""
    columns = {"id": "bigint", "version": "bigint", "v": f"float[{size}]"}
    tables = [
        {
            "name": name,
            "config": {"meta": {"realtime": {**meta, "indexes": [{"columns": "v", "type": "vector"}]}}},
            "columns": [{"name": c, "data_type": t, "data_tests": ["not_null"]} for c, t in columns.items()],
        }
        for name, meta in SOURCES.items()
    ]
    project = {
        "name": "bench", "version": "1.0", "config-version": 2, "profile": "bench", "model-paths": ["models"],
        "macro-paths": ["macros"], "analysis-paths": ["realtime/lambdas"], "models": {"+meta": {"realtime": True}},
    }  # fmt: skip
    profile = {"bench": {"target": "batch", "outputs": {"batch": {"type": "duckdb", "path": "warehouse.duckdb"}}}}
    distance = f"array_cosine_distance(v::double[{size}], {{{{ param('q', 'float[{size}]') }}}})"
    sql = {
        f"{name}_{side}": f"select id, {distance} as d from {{{{ ref('{name}') }}}} order by d, id limit {K}"
        for name in SOURCES
        for side in ("exact", "near")
    }
    analyses = [{"name": n, "config": {"meta": {"lambda": {"approximate": n.endswith("near")}}}} for n in sql]
    files = {
        "dbt_project.yml": yaml.safe_dump(project),
        "profiles/profiles.yml": yaml.safe_dump(profile),
        "models/sources.yml": yaml.safe_dump({"version": 2, "sources": [{"name": "bench", "tables": tables}]}),
        "realtime/lambdas/lambdas.yml": yaml.safe_dump({"version": 2, "analyses": analyses}),
        **{f"models/{name}.sql": f"select * from {{{{ source('bench', '{name}') }}}}" for name in SOURCES},
        **{f"realtime/lambdas/{name}.sql": text for name, text in sql.items()},
        "macros/param.sql": (ROOT / "macros" / "param.sql").read_text(),
        "macros/as_of.sql": (ROOT / "macros" / "as_of.sql").read_text(),
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def _measure(client: ClickHouse, plan: Plan, source: SourceSpec, options: argparse.Namespace) -> dict[str, Any]:
    name = source.name.split(".")[1]
    exact, near = (next(s for s in plan.lambdas if s.name == f"{name}_{side}") for side in ("exact", "near"))
    assert near.nearest is not None
    cost = _fill(client, source, options)
    sides: dict[str, list[Side]] = {"exact": [], "index": []}
    found = short = 0
    dice = random.Random(1)
    for _ in range(options.queries):
        q = _vector(client, dice.randrange(CENTERS), options)
        truth = _asked(client, exact.select, exact, q)
        answer = _asked(client, near.nearest.select, near, q)
        sides["exact"].append(truth)
        short += len(answer.rows) < K
        sides["index"].append(answer)
        found += len({row[0] for row in truth.rows} & {row[0] for row in answer.rows})
    ms, cpu = (
        {side: round(statistics.median(getattr(one, what) for one in took), 2) for side, took in sides.items()}
        for what in ("ms", "cpu_ms")
    )
    return {
        "source": name, "mode": source.mode, "vectors": options.vectors, "size": options.size, "ms": ms,
        "ratio": round(ms["index"] / ms["exact"], 3), "cpu_ms": cpu, "cpu_ratio": round(cpu["index"] / cpu["exact"], 3),
        "recall": round(found / K / options.queries, 4), "too_few": short, "insert_cpu_ms_per_1000_rows": cost,
    }  # fmt: skip


def _fill(client: ClickHouse, source: SourceSpec, options: argparse.Namespace) -> dict[str, float]:
    """Rows in one part, then a fifth of an upserted source anew; what a thousand took."""
    few = min(10_000, options.vectors)
    bare = _inserted(client, source, "number", 1, few, False, options)
    client.execute(f"TRUNCATE TABLE {source.landing}")
    took = _inserted(client, source, "number", 1, options.vectors, True, options)
    if source.mode == "upsert":
        _inserted(client, source, "number * 5", 2, options.vectors // 5, True, options)
    return {"without": round(bare / few * 1000, 1), "with": round(took / options.vectors * 1000, 1)}


def _inserted(
    client: ClickHouse, source: SourceSpec, number: str, version: int, count: int, indexed: bool, options: Any
) -> float:
    """Inserts rows as one part; the CPU milliseconds that it took."""
    vector = _sql_vector(f"sipHash64({number}, {version})", options)
    statement = (
        f"INSERT INTO {source.landing} (id, version, v) SELECT {number}, {version}, {vector} FROM numbers({count})"
    )
    whole = {"max_block_size": count, "min_insert_block_size_rows": count, "min_insert_block_size_bytes": 0}
    return _logged(client, statement, {"materialize_skip_indexes_on_insert": int(indexed), **whole}).cpu_ms


def _sql_vector(seed: str, options: Any) -> str:
    center = f"toInt64(sipHash64({seed} % {CENTERS}, i) % 2001 - 1000) / 577"
    return f"arrayMap(i -> toFloat32({center} + randNormal(0, {options.spread}, {seed} + i)), range({options.size}))"


def _vector(client: ClickHouse, center: int, options: Any) -> list[float]:
    return list(client.rows(f"SELECT {_sql_vector(f'toUInt64({center})', options)} AS v")[0]["v"])


def _asked(client: ClickHouse, select: str, spec: LambdaSpec, q: list[float]) -> Side:
    own = {k: v for k, v in sent_settings(Limits()).items() if k in ("max_threads", "max_execution_time")}
    return _logged(client, select, own, {spec.params[0].name: q})


def _logged(client: ClickHouse, sql: str, settings: dict[str, Any], parameters: dict[str, Any] | None = None) -> Side:
    """Runs ``sql``; what ClickHouse says that it took."""
    mark = uuid.uuid4().hex
    given = {**settings, "log_comment": mark}
    rows: list[tuple[Any, ...]] = []
    if sql.startswith("INSERT"):
        client.execute(sql, settings=given)
    else:
        rows = [tuple(row.values()) for row in client.rows(sql, parameters, given)]
    client.execute("SYSTEM FLUSH LOGS query_log")
    (took,) = client.rows(
        "SELECT query_duration_ms AS ms, ProfileEvents['OSCPUVirtualTimeMicroseconds'] / 1000 AS cpu "
        "FROM system.query_log WHERE log_comment = {mark:String} AND type = 'QueryFinish'",
        {"mark": mark},
    )
    return Side(took["ms"], took["cpu"], rows)


if __name__ == "__main__":
    main()
