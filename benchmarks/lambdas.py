"""Calls of lambdas per second and their latency, beside ClickHouse's own HTTP interface with the same SQL.

    python benchmarks/lambdas.py [--seconds N] [--runs N] [--callers 1 8 32 128] [--lambdas point recent seven window]

The load comes from wrk, a process of its own on the same cores, over kept connections; every call asks for a random
key. "direct" sends the lambda's query over the read views, as one writes it, to ClickHouse with the settings that the
server sends; the server reads states in their place. Of the seven single-row subqueries, whose models share a state,
there is also "joins", a hand-written query with six LEFT JOINs of models of the same rows that have states of their
own. "window" counts the events of 20 minutes, 24,000 a minute and stream: the server reads states and the two edges,
"direct" every event; "states" is the server's query sent to ClickHouse, and the rows that both read are counted. The
sides alternate, each when ClickHouse is done with what the one before has left; medians are printed as one JSON object
a line: calls per second, p50 and p99 in ms, and ours as a ratio of theirs. For the ratio of p99, less is better.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import re
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint, find_endpoint
from realtime.compile import compile_project
from realtime.deploy.apply import deploy
from realtime.deploy.diff import states_of
from realtime.errors import CommandError, UnavailableError
from realtime.planner.ir import LambdaSpec, Plan
from realtime.services import server_url, start, stop, wait_until_served
from realtime.serving.limits import Limits
from realtime.serving.upstream import settings as sent_settings
from realtime.settings import Settings

ROOT = Path(__file__).parents[1]
VISITORS, STREAMS, ROWS, BUSY = 300_000, 3_000, 1_000_000, 2
KEYS = {"recent": STREAMS, "window": BUSY}
NOW = "2026-01-01 12:00:30"
OWN = "own_"
"""Before the names of models that are read by no lambda, and so have states of their own."""
PARTS = ("views", "searches", "bookings", "cancellations", "reviews", "messages", "payments")
SOURCES = {
    "visits": {"visitor_id": "varchar", "kind": "varchar", "amount": "bigint", "happened_at": "timestamp"},
    "chats": {"stream_id": "varchar", "sender_id": "varchar", "sent_at": "timestamp"},
    "posts": {"stream_id": "varchar", "sender_id": "varchar", "sent_at": "timestamp"},
}
MODELS = {
    "visitors": "select visitor_id, count(*) as visits, max(happened_at) as last_visit_at"
    " from {{ ref('stg_visits') }} group by visitor_id",
    "stream_minutes": "select stream_id, date_trunc('minute', sent_at) as minute, count(*) as messages,"
    " count(distinct sender_id) as chatters, max(sent_at) as last_sent_at"
    " from {{ ref('stg_chats') }} group by stream_id, date_trunc('minute', sent_at)",
    "post_minutes": "select stream_id, date_trunc('minute', sent_at) as minute, count(*) as posts,"
    " count(distinct sender_id) as senders, max(sent_at) as last_sent_at"
    " from {{ ref('stg_posts') }} group by stream_id, date_trunc('minute', sent_at)",
    "stg_posts": "select * from {{ source('bench', 'posts') }}",
    "stg_visits": "select * from {{ source('bench', 'visits') }}",
    "stg_chats": "select * from {{ source('bench', 'chats') }}",
    **{
        part: f"select visitor_id, count(*) as {part}_count, sum(amount) as {part}_amount"
        f" from {{{{ ref('stg_visits') }}}} where kind = '{part}' group by visitor_id"
        for part in PARTS
    },
}
MODELS |= {OWN + part: MODELS[part] for part in PARTS}
LAMBDAS = {
    "point": "select visits, last_visit_at from {{ ref('visitors') }} where visitor_id = {{ param('key', 'varchar') }}",
    "recent": "select sum(messages) as messages, max(chatters) as chatters, max(last_sent_at) as last_sent_at"
    " from {{ ref('stream_minutes') }} where stream_id = {{ param('key', 'varchar') }}"
    " and minute > {{ as_of() }} - interval 20 minute and minute <= {{ as_of() }}",
    "window": "select count(*) as posts, count(distinct sender_id) as senders, max(sent_at) as last_sent_at"
    " from {{ ref('stg_posts') }} where stream_id = {{ param('key', 'varchar') }}"
    " and sent_at > {{ as_of() }} - interval 20 minute and sent_at <= {{ as_of() }}",
    "seven": "with "
    + ", ".join(
        f"p{n} as (select * from {{{{ ref('{part}') }}}} where visitor_id = {{{{ param('key', 'varchar') }}}})"
        for n, part in enumerate(PARTS)
    )
    + f" select {', '.join(f'p{n}.{part}_count, p{n}.{part}_amount' for n, part in enumerate(PARTS))} from p0 "
    + " ".join(f"left join p{n} on p0.visitor_id = p{n}.visitor_id" for n in range(1, len(PARTS))),
}
FILL = {
    "visits": f"""
        SELECT toString(number % {VISITORS}), ['{"', '".join(PARTS)}'][1 + intDiv(number, {VISITORS}) % 7],
               sipHash64(number) % 1000, toDateTime64('{NOW}', 6, 'UTC') - INTERVAL number % 8000 SECOND
        FROM numbers({VISITORS * len(PARTS)})""",
    "chats": f"""
        SELECT toString(number % {STREAMS}), toString(sipHash64(number) % 500),
               toDateTime64('{NOW}', 6, 'UTC') - INTERVAL intDiv(number, {STREAMS}) * 40 SECOND
        FROM numbers({ROWS})""",
    "posts": f"""
        SELECT toString(number % {BUSY}), toString(sipHash64(number) % 500),
               toDateTime64('{NOW}', 6, 'UTC') - INTERVAL intDiv(number * 5, {BUSY * 2}) MILLISECOND
        FROM numbers({BUSY * 720_000})""",
}


class Load(NamedTuple):
    """What wrk measured: answers per second, latencies in ms, and the share of calls that were errors; ClickHouse
    refuses queries beyond its hundred at a time."""

    qps: float
    p50: float
    p99: float
    failed: float


def main() -> None:
    """Measures each lambda with each number of callers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=4, help="of each run")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--lambdas", nargs="+", default=list(LAMBDAS), choices=list(LAMBDAS))
    options = parser.parse_args()
    if not shutil.which("wrk"):
        parser.error("wrk makes the load: install it with your system's package manager")
    with served() as (settings, endpoint, plan):
        for spec in (s for s in plan.lambdas if s.name in options.lambdas):
            for callers in options.callers:
                print(json.dumps(_measure(spec, settings, endpoint, plan, callers, options)), flush=True)


@contextlib.contextmanager
def served() -> Iterator[tuple[Settings, Endpoint, Plan]]:
    """The project, deployed, filled and served, as long as the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder))
        settings = Settings.load(Path(folder), {"DUET_CLICKHOUSE_PORT": "0", "DUET_SERVER_PORT": "0"})
        try:
            start(settings)
            plan = compile_project(settings).plan
            endpoint = find_endpoint(settings)
            with ClickHouse(endpoint) as client:
                deploy(settings, plan, client, lambda text: None)
                _fill(plan, client)
            wait_until_served(settings, plan)
            yield settings, endpoint, plan
        finally:
            stop(settings)


def _write(root: Path) -> None:
    """The project's files."""
    source = {
        "name": "bench",
        "tables": [
            {
                "name": name,
                "config": {"meta": {"realtime": {"mode": "append"}}},
                "columns": [{"name": c, "data_type": t, "data_tests": ["not_null"]} for c, t in columns.items()],
            }
            for name, columns in SOURCES.items()
        ],
    }
    project = {
        "name": "bench", "version": "1.0", "config-version": 2, "profile": "bench", "model-paths": ["models"],
        "macro-paths": ["macros"], "analysis-paths": ["realtime/lambdas"], "models": {"+meta": {"realtime": True}},
    }  # fmt: skip
    profile = {"bench": {"target": "batch", "outputs": {"batch": {"type": "duckdb", "path": "warehouse.duckdb"}}}}
    analyses = [{"name": name, "config": {"meta": {"lambda": {}}}} for name in LAMBDAS]
    files = {
        "dbt_project.yml": yaml.safe_dump(project),
        "profiles/profiles.yml": yaml.safe_dump(profile),
        "models/sources.yml": yaml.safe_dump({"version": 2, "sources": [source]}),
        "realtime/lambdas/lambdas.yml": yaml.safe_dump({"version": 2, "analyses": analyses}),
        **{f"models/{name}.sql": sql for name, sql in MODELS.items()},
        **{f"realtime/lambdas/{name}.sql": sql for name, sql in LAMBDAS.items()},
        **{f"macros/{name}.sql": (ROOT / "macros" / f"{name}.sql").read_text() for name in ("param", "as_of")},
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def _fill(plan: Plan, client: ClickHouse) -> None:
    """Rows into the landing tables, and so into every state; then all of a table in one part, as after some time."""
    for spec in plan.sources:
        columns = ", ".join(c.name for c in spec.columns)
        client.execute(f"INSERT INTO {spec.landing} ({columns}) {FILL[spec.name.split('.')[1]]}")
    for relation in states_of(plan):
        client.execute(f"OPTIMIZE TABLE {relation} FINAL")


def _measure(
    spec: LambdaSpec, settings: Settings, endpoint: Endpoint, plan: Plan, callers: int, options: argparse.Namespace
) -> dict[str, Any]:
    keys = KEYS.get(spec.name, VISITORS)
    as_of = f"&as_of={urllib.parse.quote(NOW)}" if any(p.name == "as_of" for p in spec.params) else ""
    bound = f"&param_key=KEY{as_of.replace('as_of', 'param_as_of')}"
    sides = {
        "ours": f"{server_url(settings)}/v1/lambdas/{spec.name}?key=KEY{as_of}",
        "direct": direct(endpoint, spec.select, bound),
    }
    if spec.name == "seven":
        sides["joins"] = direct(endpoint, joined(plan.database), "&param_key=KEY")
    if spec.window is not None:
        sides["states"] = direct(endpoint, spec.window.select, bound)
    read = {
        f"rows_{side}": _rows_read(sides[side].replace("KEY", "1")) for side in ("direct", "states") if side in sides
    }
    found: dict[str, list[Load]] = {side: [] for side in sides}
    for _ in range(options.runs):
        for side, url in sides.items():
            _wait_for_rest(endpoint)
            found[side].append(_load(url, keys, callers, options.seconds))
    loads = {
        side: Load(*(round(statistics.median(v), 2) for v in zip(*runs, strict=True))) for side, runs in found.items()
    }
    ours = loads["ours"]
    ratios = {
        f"{what}_to_{side}": round(getattr(ours, what) / getattr(load, what), 3)
        for side, load in loads.items() if side != "ours" for what in ("qps", "p99")
    }  # fmt: skip
    return {"lambda": spec.name, "callers": callers, **{s: v._asdict() for s, v in loads.items()}, **ratios, **read}


def _wait_for_rest(endpoint: Endpoint) -> None:
    """Returns when ClickHouse runs no query any more: those whose callers have left go on for up to half a second,
    which the side that is measured next would show as its own tail."""
    while _running(endpoint) > 1:
        time.sleep(0.01)


def _running(endpoint: Endpoint) -> float:
    """Queries that run, this one too; where there are so many that ClickHouse takes no other, it does not say."""
    try:
        with ClickHouse(endpoint) as client:
            return int(client.value("SELECT count() FROM system.processes"))
    except (CommandError, UnavailableError) as error:
        if "TOO_MANY_SIMULTANEOUS_QUERIES" not in error.message:
            raise
        return math.inf


def _rows_read(url: str) -> int:
    """How many rows ClickHouse reads for one call."""
    with urllib.request.urlopen(f"{url}&wait_end_of_query=1") as reply:
        return int(json.loads(reply.headers["X-ClickHouse-Summary"])["read_rows"])


def joined(database: str) -> str:
    """The seven by LEFT JOINs of the read views, as one writes it by hand."""
    first, *others = PARTS
    shown = ", ".join(f"{part}.{part}_count, {part}.{part}_amount" for part in PARTS)
    joins = " ".join(f"LEFT JOIN {database}.{OWN}{o} AS {o} ON {first}.visitor_id = {o}.visitor_id" for o in others)
    return f"SELECT {shown} FROM {database}.{OWN}{first} AS {first} {joins} WHERE {first}.visitor_id = {{key:String}}"


def direct(endpoint: Endpoint, select: str, parameters: str) -> str:
    """The address at which ClickHouse answers ``select`` with the settings that the server sends."""
    given = {**sent_settings(Limits()), "default_format": "JSON", "query": select}
    return f"{endpoint.url}/?{urllib.parse.urlencode(given)}{parameters}"


def _load(url: str, keys: int, callers: int, seconds: int) -> Load:
    parts = urllib.parse.urlsplit(url)
    before, _, after = f"{parts.path}?{parts.query}".partition("KEY")
    script = f"""
        local seeded = false
        request = function()
            if not seeded then math.randomseed(os.time()); seeded = true end
            return wrk.format("GET", {json.dumps(before)} .. math.random(0, {keys - 1}) .. {json.dumps(after)})
        end
        done = function(summary, latency, requests)
            io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,
                latency:percentile(50), latency:percentile(99), summary.errors.status + summary.errors.timeout))
        end
    """
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["wrk", "-t", str(min(2, callers)), "-c", str(callers), "-d", f"{seconds}s", "-s", file.name]
        done = subprocess.run(
            [*command, "--timeout", "20s", f"{parts.scheme}://{parts.netloc}"],
            capture_output=True,
            text=True,
            check=True,
        )
    result = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", done.stdout)
    assert result, done.stdout
    requests, micros, p50, p99, errors = map(int, result.groups())
    return Load((requests - errors) / micros * 1e6, p50 / 1000, p99 / 1000, errors / requests)


if __name__ == "__main__":
    main()
