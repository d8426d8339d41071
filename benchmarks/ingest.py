"""Rows taken per second, how long an answer takes, and how soon a lambda sees a row, beside ClickHouse itself.

    python benchmarks/ingest.py [--seconds N] [--runs N] [--gaps 5 20 50 100 250 1000]

A source with a state below it, and a lambda over the state. "direct" sends the same rows to ClickHouse's HTTP interface
with the settings that the server sends, each request an insert with a token of its own. Load, server and ClickHouse
share the machine's cores; the sides alternate, and medians of the runs are printed as one JSON object a line: rows a
second, milliseconds until the answer, ours as a ratio of theirs. CSV, and POST, PATCH and DELETE of an upserted source,
are ratios of a POST of NDJSON to a source that only takes rows. Freshness is the time from the start of a POST until
a lambda has answered with its row, while other rows come in evenly, and then with lambda calls beside them. With
``--gaps`` it is measured for each least time between two inserts (`DUET_INGEST_GAP_MS`), with the inserts a minute and
the most parts of the landing table. Where there is a target, the record says whether it was met. Takes three minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import itertools
import json
import math
import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec
import psutil

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import find_endpoint
from realtime.clickhouse.moment import micros, server_now
from realtime.compile import compile_project
from realtime.deploy.apply import deploy
from realtime.deploy.promote import stage_views
from realtime.ingest.writer import SETTINGS
from realtime.planner.ir import Plan, SourceSpec
from realtime.server import process
from realtime.services import server_url, start, stop, wait_until_served
from realtime.settings import Settings

ROOT = Path(__file__).parents[1]
GAP = 20
PROBES = 10  # a second
CALLS = 700  # of a lambda, a second
ITEMS = 50_000
_DECODER, _ENCODER = msgspec.json.Decoder(dict[str, Any]), msgspec.json.Encoder()
FILES = {
    "dbt_project.yml": "name: bench\nversion: '1.0'\nprofile: bench\nmodel-paths: [models]\n"
    "analysis-paths: [realtime/lambdas]\nmodels:\n  bench:\n    +materialized: table\n    +meta: {realtime: true}\n",
    "profiles.yml": "bench:\n  target: batch\n  outputs:\n"
    "    batch: {type: duckdb, path: warehouse.duckdb, threads: 1}\n",
    "models/sources.yml": """
version: 2
sources:
  - name: app
    schema: app
    tables:
      - name: events
        config: {meta: {realtime: {event_time: sent_at}}}
        columns:
          - {name: id, data_type: bigint, data_tests: [not_null]}
          - {name: page, data_type: varchar, data_tests: [not_null]}
          - {name: price, data_type: "decimal(12,2)"}
          - {name: sent_at, data_type: timestamp, data_tests: [not_null]}
      - name: items
        config: {meta: {realtime: {mode: upsert, key: [id], version: version, deleted: gone}}}
        columns:
          - {name: id, data_type: bigint, data_tests: [not_null]}
          - {name: version, data_type: bigint, data_tests: [not_null]}
          - {name: page, data_type: varchar, data_tests: [not_null]}
          - {name: price, data_type: "decimal(12,2)"}
          - {name: sent_at, data_type: timestamp, data_tests: [not_null]}
          - {name: gone, data_type: boolean}
""",
    "models/items.sql": "select page, count(*) as items, sum(price) as total\n"
    "from {{ source('app', 'items') }} group by page\n",
    "models/pages.sql": "select page, count(*) as views, sum(price) as total, max(sent_at) as last_at\n"
    "from {{ source('app', 'events') }} group by page\n",
    "realtime/lambdas/page.sql": "select page, views, total from {{ ref('pages') }}\n"
    "where page = {{ param('page', 'varchar') }}\n",
    "realtime/lambdas/page.yml": "version: 2\nanalyses:\n  - name: page\n    description: The views of a page.\n"
    "    config: {meta: {lambda: {examples: [{page: page 1}]}}}\n",
}


class Taken(NamedTuple):
    """What one run took: rows a second, and each request's milliseconds."""

    rate: float
    waits: list[float]


Send = Callable[[aiohttp.ClientSession, bytes], Coroutine[Any, Any, None]]


def main() -> None:
    """Measures all of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run")
    parser.add_argument("--runs", type=int, default=2, help="runs of each side")
    parser.add_argument(
        "--rate", type=int, default=1_000, help="single-row requests a second beside which it is measured"
    )
    parser.add_argument("--gaps", type=int, nargs="*", default=[], help="measure freshness for these, in ms")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, text in FILES.items():
            file = Path(folder) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        shutil.copytree(ROOT / "macros", Path(folder) / "macros")
        try:
            bench = Bench(Path(folder), options.seconds)
            if not options.gaps:
                bench.rates(options.runs)
                bench.kinds(options.runs)
            for gap in options.gaps or [GAP]:
                bench.freshness(gap, options.rate)
            if not options.gaps:
                bench.freshness(GAP, options.rate, calls=CALLS)
        finally:
            stop(_settings(Path(folder), GAP))


class Bench:
    """The project in ``folder``, deployed and served; each run takes ``seconds``."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.settings = _settings(folder, GAP)
        self._folder = folder
        self._seconds = seconds
        self._count = itertools.count()
        start(self.settings)
        outcome = compile_project(self.settings)
        assert not outcome.refusals, [str(r) for r in outcome.refusals]
        self._plan: Plan = outcome.plan
        self._source: SourceSpec = next(s for s in self._plan.sources if s.mode == "append")
        self._items: SourceSpec = next(s for s in self._plan.sources if s.mode == "upsert")
        self._client = ClickHouse(find_endpoint(self.settings))
        deploy(self.settings, self._plan, self._client, lambda _: None, build=stage_views)
        wait_until_served(self.settings, self._plan)
        self._server, self._clickhouse = server_url(self.settings), find_endpoint(self.settings).url

    def rates(self, runs: int) -> None:
        """Prints both sides' rows a second for large and for single-row requests."""
        for rows, senders, target in ((1_000, 4, 0.8), (1_000, 1, 0.8), (1, 64, 3), (1, 1, 0)):
            found: dict[str, list[Taken]] = {"ours": [], "direct": []}
            for _, (side, send) in itertools.product(range(runs), (("ours", self._ours), ("direct", self._direct))):
                found[side].append(asyncio.run(self._closed(send, rows, senders)))
                self._client.execute(f"TRUNCATE TABLE {self._source.landing} SYNC")
            record: dict[str, Any] = {"case": f"{rows} rows a request, {senders} senders"}
            for side, taken in found.items():
                waits = sorted(wait for one in taken for wait in one.waits)
                record |= {f"{side} rows/s": round(statistics.median(one.rate for one in taken))}
                record |= {f"{side} p50 ms": _at(waits, 0.5), f"{side} p99 ms": _at(waits, 0.99)}
            record["ratio"] = round(record["ours rows/s"] / record["direct rows/s"], 2)
            if target:
                record |= {"target": f"≥ {target}", "met": record["ratio"] >= target}
            print(json.dumps(record, ensure_ascii=False), flush=True)

    def kinds(self, runs: int) -> None:
        """Prints rows a second of other forms and methods beside NDJSON of an append source, all by 4 senders."""
        kinds: dict[str, Send] = {
            "POST": self._ours,
            "POST of CSV": self._csv,
            "POST, upserted": functools.partial(self._change, "POST"),
            "PATCH": functools.partial(self._change, "PATCH"),
            "DELETE": functools.partial(self._change, "DELETE"),
        }
        asyncio.run(self._fill())
        found: dict[str, list[Taken]] = {kind: [] for kind in kinds}
        for _, (kind, send) in itertools.product(range(runs), kinds.items()):
            found[kind].append(asyncio.run(self._closed(send, 1_000, 4)))
        usual = statistics.median(one.rate for one in found["POST"])
        for kind, taken in found.items():
            waits = [wait for one in taken for wait in one.waits]
            rate = statistics.median(one.rate for one in taken)
            record = {"case": f"{kind}, 1000 rows a request, 4 senders", "rows/s": round(rate)}
            record |= {"p50 ms": _at(waits, 0.5), "p99 ms": _at(waits, 0.99), "ratio": round(rate / usual, 2)}
            print(json.dumps(record), flush=True)

    def freshness(self, gap: int, rate: int, calls: int = 0) -> None:
        """Prints how soon a lambda sees a row, at ``rate`` requests of one row a second and at 20 of 1,000 rows, with
        ``calls`` of the lambda a second beside them."""
        if gap != self.settings.number("DUET_INGEST_GAP_MS"):
            process.daemon(self.settings).stop()
            self.settings = _settings(self._folder, gap)
            process.start(self.settings)
            wait_until_served(self.settings, self._plan)
            self._server = server_url(self.settings)
        for rows, each in ((rate, 1), (20_000, 1_000)):
            moment = micros(server_now(self._client))
            since = f"_ingested_at >= fromUnixTimestamp64Micro({moment}, 'UTC')"
            server = self._cpu()
            waits, acknowledged, sent, parts = asyncio.run(self._open(rows / each, each, calls))
            used = (self._cpu() - server) / (sent / each) * 1e6
            inserts = self._client.value(f"SELECT uniqExact(_batch_id) FROM {self._source.landing} WHERE {since}")
            record = {
                "case": f"freshness, {rows} rows/s by {each}, gap {gap} ms" + (f", {calls} calls/s" if calls else ""),
                "sent rows/s": round(sent / self._seconds),
                **{f"acknowledged p{p} ms": _at(acknowledged, p / 100) for p in (50, 99)},
                **{f"seen p{p} ms": _at(waits, p / 100) for p in (50, 99)},
                "inserts/min": round(inserts * 60 / self._seconds),
                "most parts": parts,
                "server's µs of CPU a request": round(used),
            }
            p50, p99 = (math.inf, 60) if calls else (25, 50)
            met = record["seen p50 ms"] <= p50 and record["seen p99 ms"] < p99
            target = f"p99 < {p99}" if calls else f"p50 ≤ {p50}, p99 < {p99}"
            if gap == GAP:
                record |= {"target": f"{target}, inserts/min ≤ {60_000 // gap}"}
                record |= {"met": met and record["inserts/min"] <= 60_000 / gap}
            print(json.dumps(record, ensure_ascii=False), flush=True)

    async def _closed(self, send: Send, rows: int, senders: int) -> Taken:
        """``senders`` that send one request after the other."""
        waits: list[float] = []
        end = time.perf_counter() + self._seconds

        async def run(session: aiohttp.ClientSession) -> None:
            while (began := time.perf_counter()) < end:
                await send(session, self._rows(rows))
                waits.append((time.perf_counter() - began) * 1000)

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(run(session) for _ in range(senders)))
        return Taken(len(waits) * rows / self._seconds, waits)

    async def _open(self, rate: float, rows: int, calls: int = 0) -> tuple[list[float], list[float], int, int]:
        """Requests at an even ``rate``, whether or not those before are answered, and probes beside them."""
        seen: list[float] = []
        acknowledged: list[float] = []
        sent = most = 0
        tasks: set[asyncio.Task[None]] = set()

        async def one() -> None:
            began = time.perf_counter()
            await connections.post(self._rows(rows))
            acknowledged.append((time.perf_counter() - began) * 1000)

        async def probe() -> None:
            page, began = uuid.uuid4().hex, time.perf_counter()
            await connections.post(self._rows(1, page))
            while not await self._is_seen(session, page):
                pass
            seen.append((time.perf_counter() - began) * 1000)

        connections = Connections(self._server, self._source.name)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            begin = time.perf_counter()
            probed = called = 0
            while (passed := time.perf_counter() - begin) < self._seconds:
                for _ in range(int(passed * rate) - sent):
                    tasks.add(asyncio.create_task(one()))
                    sent += 1
                for number in range(called, int(passed * calls)):
                    tasks.add(asyncio.create_task(connections.call(f"page+{number % 997}")))
                    called += 1
                if passed * PROBES > probed:
                    probed += 1
                    tasks.add(asyncio.create_task(probe()))
                    if probed % PROBES == 0:
                        most = max(most, await asyncio.to_thread(self._parts))
                await asyncio.sleep(0.001)
            await asyncio.gather(*tasks)
        connections.close()
        return seen, acknowledged, sent * rows, most

    async def _ours(self, session: aiohttp.ClientSession, rows: bytes) -> None:
        await self._send(session, self._source, "POST", rows, {})

    async def _send(
        self, session: aiohttp.ClientSession, source: SourceSpec, method: str, body: bytes, headers: dict[str, str]
    ) -> None:
        url = f"{self._server}/v1/events/{source.name}"
        async with session.request(method, url, data=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            taken = await answer.json()
            assert not taken["quarantined_rows"], taken

    async def _fill(self) -> None:
        """Gives every key a row, which a PATCH can change."""
        async with aiohttp.ClientSession() as session:
            for _ in range(ITEMS // 1_000):
                await self._change("POST", session, self._rows(1_000))

    async def _csv(self, session: aiohttp.ClientSession, rows: bytes) -> None:
        found = _DECODER.decode_lines(rows)
        text = "\n".join([",".join(found[0]), *(",".join(map(str, row.values())) for row in found)])
        await self._send(session, self._source, "POST", text.encode(), {"Content-Type": "text/csv"})

    async def _change(self, method: str, session: aiohttp.ClientSession, rows: bytes) -> None:
        """Rows of `ITEMS` different keys, each of a higher version than those before; those deleted are others."""
        found = _DECODER.decode_lines(rows)
        kept = {"POST": ("page", "price", "sent_at"), "PATCH": ("price",), "DELETE": ()}[method]
        changed = [
            {"id": row["id"] % ITEMS + (ITEMS if method == "DELETE" else 0), "version": row["id"]}
            | {name: row[name] for name in kept}
            for row in found
        ]
        await self._send(session, self._items, method, _ENCODER.encode_lines(changed), {})

    async def _direct(self, session: aiohttp.ClientSession, rows: bytes) -> None:
        columns = ", ".join(c.name for c in self._source.columns)
        parameters = {
            **SETTINGS,
            "insert_deduplication_token": uuid.uuid4().hex,
            "query": f"INSERT INTO {self._source.landing} ({columns}) FORMAT JSONEachRow",
        }
        async with session.post(self._clickhouse, params=parameters, data=rows) as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()

    async def _is_seen(self, session: aiohttp.ClientSession, page: str) -> bool:
        url = f"{self._server}/v1/lambdas/page"
        async with session.get(url, params={"page": page}) as answer:
            return bool((await answer.json())["data"])

    def _rows(self, count: int, page: str = "") -> bytes:
        numbers = itertools.islice(self._count, count)
        text = '{{"id":{0},"page":"{1}","price":{2}.25,"sent_at":"2026-01-01T00:{3:02}:{4:02}"}}\n'
        return "".join(
            text.format(n, page or f"page {n % 997}", n % 1000, n // 60 % 60, n % 60) for n in numbers
        ).encode()

    def _cpu(self) -> float:
        record = process.daemon(self.settings).running()
        assert record is not None
        times = psutil.Process(record.pid).cpu_times()
        return float(times.user + times.system)

    def _parts(self) -> int:
        sql = "SELECT count() FROM system.parts WHERE active AND concat(database, '.', table) = {landing:String}"
        return int(self._client.value(sql, {"landing": self._source.landing}))


class Connections:
    """Connections for calls of the lambda and for rows, as many as are under way; a general client would take a core
    for them."""

    def __init__(self, server: str, source: str) -> None:
        self._host, self._port = server.removeprefix("http://").split(":")
        self._source = source
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call(self, page: str) -> None:
        """Calls it for a page, and reads the answer."""
        await self._ask(f"GET /v1/lambdas/page?page={page}", b"")

    async def post(self, rows: bytes) -> None:
        """Sends rows, which all fit."""
        answer = await self._ask(f"POST /v1/events/{self._source}", rows)
        assert answer.endswith(b'"quarantined_rows":0}'), answer

    async def _ask(self, line: str, body: bytes) -> bytes:
        pair = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, int(self._port))
        reader, writer = pair
        writer.write(f"{line} HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        answer = await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
        self._idle.append(pair)
        return answer

    def close(self) -> None:
        """Gives the connections back."""
        for _, writer in self._idle:
            writer.close()


def _settings(folder: Path, gap: int) -> Settings:
    ports = {"DUET_CLICKHOUSE_PORT": "0", "DUET_SERVER_PORT": "0"}
    return Settings.load(folder, {**ports, "DUET_INGEST_GAP_MS": str(gap)})


def _at(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 1)


if __name__ == "__main__":
    main()
