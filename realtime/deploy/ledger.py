"""What Duet keeps for itself in ``<database>_duet``: deployments, lambdas, and how far each state has come.

Nothing is updated in place: every record is an insert of one row, so a deploy that is killed leaves the record
before or after it, never half of one.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.moment import from_micros, micros, next_moment, server_now
from realtime.emit.shards import create_database, engine_on
from realtime.planner.ir import LambdaSpec, Plan, plan_id
from realtime.serving import recorder, tags, tokens

Progress = Callable[[str, int, int], None]
_MOMENT = "DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')"
_TABLES = (
    # note: empty for a deploy, else what it was instead.
    ("deployments", f"id String, at {_MOMENT}, plan String, note String", "MergeTree ORDER BY at"),
    (
        "lambdas",
        f"name String, version String, at {_MOMENT}, spec String",
        "ReplacingMergeTree(at) ORDER BY (name, version)",
    ),
    # phase: 'cut' once the views take all rows from `cutover` on, 'entering' while those before are moved in,
    # 'complete' once they are, 'late' where they were left out as the caller asked, 'dropped' before anything of it is.
    (
        "states",
        f"relation String, cutover Int64, phase String, at {_MOMENT}",
        "ReplacingMergeTree(at) ORDER BY relation",
    ),
    # States that are entering since ClickHouse was started: it forgets them when it ends.
    ("entering", "relation String, cutover Int64", "Memory"),
    # The version before of each model: it is in `deployment`, and its states are fed until then.
    (
        "kept",
        f"model String, deployment String, until DateTime64(6, 'UTC'), at {_MOMENT}",
        "ReplacingMergeTree(at) ORDER BY (model, deployment)",
    ),
    (
        "chunks",
        f"relation String, cutover Int64, number UInt32, view String, since Int64, until Int64, rows UInt64, "
        f"done UInt8, at {_MOMENT}, source String, within String",
        "ReplacingMergeTree(done) ORDER BY (relation, cutover, number) TTL at + INTERVAL 90 DAY",
    ),
    # The lake by whose exports rows of a source are deleted when their ttl is over (see `realtime.ingest.expired`).
    ("lakes", f"source String, lake String, at {_MOMENT}", "ReplacingMergeTree(at) ORDER BY source"),
    ("tags", tags.TABLE, tags.ENGINE),
    ("tokens", tokens.TABLE, tokens.ENGINE),
    ("calls", *recorder.CALLS),
    ("traffic", *recorder.TRAFFIC),
)
_STARTED = "SELECT max(at) FROM (SELECT nowInBlock64(6, 'UTC') - toIntervalSecond(uptime()) AS at FROM {servers})"


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Rows of the table ``source`` from ``since`` until ``until`` that one insert backfills through ``view``: all, or
    those ``within`` a condition on their columns; ``rows`` says about how many they are."""

    number: int
    view: str
    source: str
    since: datetime
    until: datetime
    rows: int
    done: bool = False
    within: str = ""


@dataclasses.dataclass(frozen=True)
class Deployment:
    """A moment from which a plan was the active one, and what made it so."""

    id: str
    at: datetime
    what: str


@dataclasses.dataclass(frozen=True)
class Ledger:
    """The records of one database."""

    client: ClickHouse
    database: str

    def create(self) -> None:
        """Makes the database and its tables where they are missing."""
        cluster = self.client.cluster
        self.client.execute(create_database(f"{self.database}_duet", cluster, everywhere=True))
        for name, columns, engine in _TABLES:
            kind = engine_on(engine, replicated=bool(cluster))
            self.client.execute(f"CREATE TABLE IF NOT EXISTS {self._table(name)} ({columns}) ENGINE = {kind}")
        # Made by a version before, they may lack these.
        for name, column in (("deployments", "note"), ("chunks", "source"), ("chunks", "within")):
            self.client.execute(f"ALTER TABLE {self._table(name)} ADD COLUMN IF NOT EXISTS {column} String")

    def cutovers(self) -> dict[str, datetime]:
        """States whose views take everything from a moment on, with that moment; complete or not."""
        rows = self._rows("SELECT relation, cutover FROM {table} FINAL WHERE phase != 'dropped'", "states")
        return {r["relation"]: from_micros(int(r["cutover"])) for r in rows}

    def complete(self) -> frozenset[str]:
        """States that hold every landing row that they should hold: those of `late` only from a moment on."""
        rows = self._rows("SELECT relation FROM {table} FINAL WHERE phase IN ('complete', 'late')", "states")
        return frozenset(r["relation"] for r in rows)

    def late(self) -> dict[str, datetime]:
        """States that hold only the rows that came from a moment on, with that moment."""
        rows = self._rows("SELECT relation, cutover FROM {table} FINAL WHERE phase = 'late'", "states")
        return {r["relation"]: from_micros(int(r["cutover"])) for r in rows}

    def phase(self, relation: str) -> str:
        """How far a state has come (see `_TABLES`); empty where nothing is known of it."""
        sql = f"SELECT phase FROM {self._table('states')} FINAL WHERE relation = {{relation:String}}"
        return str(self.client.value(sql, {"relation": relation}) or "")

    def entering(self) -> frozenset[str]:
        """States that have begun to take what was backfilled."""
        rows = self._rows("SELECT relation FROM {table} FINAL WHERE phase = 'entering'", "states")
        return frozenset(r["relation"] for r in rows)

    def interrupted(self) -> frozenset[str]:
        """States that ClickHouse was restarted under while they were entering: nobody knows what they hold. Of a
        cluster any server counts, by its clock, and with it what was begun up to a minute later."""
        if self.client.cluster:
            started = _STARTED.format(servers=self.client.endpoint.everywhere("system.one"))
            sql = "SELECT relation FROM {table} FINAL WHERE phase = 'entering' AND at < "
            rows = self._rows(f"{sql}({started}) + INTERVAL 1 MINUTE", "states")
            return frozenset(r["relation"] for r in rows)
        sql = "SELECT relation, cutover FROM {table}"
        sure = {(r["relation"], int(r["cutover"])) for r in self._rows(sql, "entering")}
        cuts = {relation: micros(moment) for relation, moment in self.cutovers().items()}
        return frozenset(relation for relation in self.entering() if (relation, cuts[relation]) not in sure)

    def enter(self, relation: str, cutover: datetime) -> None:
        """Records that a state begins to take what was backfilled."""
        self.client.insert(self._table("entering"), ["relation", "cutover"], [[relation, micros(cutover)]])
        self.mark([relation], "entering", cutover)

    def unfinished(self) -> frozenset[str]:
        """States that a deploy has begun to fill and not completed."""
        rows = self._rows("SELECT relation FROM {table} FINAL WHERE phase IN ('cut', 'entering')", "states")
        return frozenset(r["relation"] for r in rows)

    def lakes(self) -> dict[str, str]:
        """The lake that each source's expired rows have to be in before they are deleted, by source."""
        return {r["source"]: r["lake"] for r in self._rows("SELECT source, lake FROM {table} FINAL", "lakes")}

    def own(self, sources: Iterable[str], lake: str) -> None:
        """Makes ``lake`` that of ``sources``."""
        rows = [[source, lake] for source in sources]
        self._add("lakes", ["source", "lake"], rows)

    def mark(self, relations: Iterable[str], phase: str, cutover: datetime | None = None) -> None:
        """Records that states have come to ``phase`` (see `_TABLES`), all at once."""
        moment = micros(cutover) if cutover is not None else 0
        rows = [[relation, moment, phase] for relation in relations]
        self._add("states", ["relation", "cutover", "phase"], rows)

    def chunks(self, relation: str, cutover: datetime) -> list[Chunk]:
        """The chunks of a state's backfill, in order; empty where none are planned yet."""
        found = self.client.rows(
            f"SELECT number, view, source, since, until, rows, done, within FROM {self._table('chunks')} FINAL "
            "WHERE relation = {relation:String} AND cutover = {cutover:Int64} ORDER BY number",
            {"relation": relation, "cutover": micros(cutover)},
        )
        return [_chunk(row) for row in found]

    def save_chunks(self, relation: str, cutover: datetime, chunks: Iterable[Chunk]) -> None:
        """Records chunks as planned, or as done."""
        columns = ["relation", "cutover", "number", "view", "source", "since", "until", "rows", "done", "within"]
        rows = [
            [
                relation,
                micros(cutover),
                c.number,
                c.view,
                c.source,
                micros(c.since),
                micros(c.until),
                c.rows,
                int(c.done),
                c.within,
            ]
            for c in chunks
        ]
        if rows:
            self.client.insert(self._table("chunks"), columns, rows)

    def register(self, lambdas: Iterable[LambdaSpec]) -> None:
        """Adds versions of lambdas: what is of this plan alone is not part of them."""
        versions = [msgspec.structs.replace(spec, together=None, direct=None, apart="") for spec in lambdas]
        rows = [[spec.name, spec.version, msgspec.json.encode(spec).decode()] for spec in versions]
        self._add("lambdas", ["name", "version", "spec"], rows)

    def versions(self) -> dict[str, list[str]]:
        """The versions of every lambda ever deployed, in the order in which they were deployed last."""
        found: dict[str, list[str]] = {}
        for row in self._rows("SELECT name, version FROM {table} FINAL ORDER BY at, name, version", "lambdas"):
            found.setdefault(row["name"], []).append(row["version"])
        return found

    def lambdas(self) -> frozenset[tuple[str, str]]:
        """Name and version of every lambda ever deployed."""
        rows = self._rows("SELECT DISTINCT name, version FROM {table}", "lambdas")
        return frozenset((r["name"], r["version"]) for r in rows)

    def activate(self, plan: Plan, note: str = "") -> None:
        """Makes ``plan`` the active one: servers take it from here."""
        row = [plan_id(plan), msgspec.json.encode(plan).decode(), note]
        self._add("deployments", ["id", "plan", "note"], [row])

    def keep(self, models: Iterable[str], deployment: str, days: int) -> None:
        """Records ``deployment`` as that of the version before of ``models``, to be kept for ``days``."""
        until = server_now(self.client) + timedelta(days=days)
        rows = [[model, deployment, until] for model in models]
        self._add("kept", ["model", "deployment", "until"], rows)

    def kept(self) -> dict[str, tuple[str, datetime]]:
        """The id of the deployment that each model's version before is in, and until when it is kept."""
        # What a deploy or rollback was killed in before it became active is still the active one.
        active = f"(SELECT id FROM {self._table('deployments')} ORDER BY at DESC, id DESC LIMIT 1)"
        rows = self._rows(
            "SELECT model, deployment, toUnixTimestamp64Micro(until) AS until FROM {table} FINAL "
            f"WHERE deployment != {active} ORDER BY model, at",
            "kept",
        )
        return {r["model"]: (r["deployment"], from_micros(int(r["until"]))) for r in rows}

    def plans(self, ids: Iterable[str]) -> dict[str, Plan]:
        """Deployed plans by their ids, those that this version can read."""
        found = {}
        table = self._table("deployments")
        sql = f"SELECT id, any(plan) AS plan FROM {table} WHERE id IN {{ids:Array(String)}} GROUP BY id"
        for row in self.client.rows(sql, {"ids": sorted(set(ids))}):
            with contextlib.suppress(msgspec.DecodeError):
                found[row["id"]] = msgspec.json.decode(row["plan"], type=Plan)
        return found

    def history(self) -> list[Deployment]:
        """Every deployment, the newest first."""
        rows = self._rows(
            "SELECT id, toUnixTimestamp64Micro(at) AS moment, note FROM {table} ORDER BY at DESC, id DESC",
            "deployments",
        )
        return [Deployment(r["id"], from_micros(int(r["moment"])), r["note"] or "deploy") for r in rows]

    def deployed(self, things: str, relation: str) -> frozenset[str]:
        """Relations that any deploy made, the active one included: of ``steps`` their ``relation``, of ``sources``
        their ``landing`` or ``quarantine``."""
        rows = self._rows(
            f"SELECT DISTINCT arrayJoin(JSONExtract(plan, '{things}', 'Array(Tuple({relation} String))')).1 "
            "AS relation FROM {table}",
            "deployments",
        )
        return frozenset(r["relation"] for r in rows)

    def _add(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        """Adds records that are later than all before, whatever the clock says."""
        if rows:
            at = next_moment(self.client, self._table(name))
            self.client.insert(self._table(name), [*columns, "at"], [[*row, at] for row in rows])

    def _table(self, name: str) -> str:
        return f"`{self.database}_duet`.{name}"

    def _rows(self, sql: str, name: str) -> list[dict[str, Any]]:
        return self.client.rows(sql.replace("{table}", self._table(name)))


@dataclasses.dataclass(frozen=True)
class Work:
    """What the parts of one deploy share: ``report`` takes lines to show, ``check`` raises where the deploy must not
    go on, ``comment`` marks its long queries, so that the next deploy can end those of one that was killed;
    ``progress`` takes a label, how many rows of it are done and how many there are; ``threads`` chunks of a backfill
    run at a time."""

    client: ClickHouse
    ledger: Ledger
    report: Callable[[str], None]
    check: Callable[[], None]
    comment: str
    progress: Progress = lambda *_: None
    threads: int = 2


def _chunk(row: dict[str, Any]) -> Chunk:
    since, until = from_micros(int(row["since"])), from_micros(int(row["until"]))
    rows, done = int(row["rows"]), bool(row["done"])
    return Chunk(int(row["number"]), row["view"], row["source"], since, until, rows, done, row["within"])
