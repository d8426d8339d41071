"""Real time as of the watermark up to which batch has the rows, while more rows come.

Landing tables and states are cloned, which copies no data, and the clones are taken back to the watermark: landing
rows that came since are deleted, and so are the groups of states that got such rows. These groups are computed anew
from the landing rows that are left (from the lake where a ``ttl`` has deleted some), through the selects of the
state's own views. An upserted source does not keep what a newer row has replaced: its keys that changed get the rows
of the lake. Over all that, the models' own SQL is what they answer at the watermark.

Of the groups that changed, this compares what the rows make of them, not what the states hold. So these are compared
as well, as of now: the groups as they are kept, and as all landing rows make them anew. Only of groups that change at
this very moment nobody can say what they should be; they are counted.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import duckdb
import msgspec
from sqlglot import TokenType

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.inserts import wait_for_inserts
from realtime.clickhouse.moment import EPOCH, from_micros, micros, server_now
from realtime.deploy.lake import load_lakes
from realtime.deploy.ledger import Ledger, Work
from realtime.deploy.promote import rendered
from realtime.deploy.refreshes import with_upstream
from realtime.emit.landing import INGESTED_AT
from realtime.emit.names import quoted
from realtime.errors import CommandError, ConfigError
from realtime.ingest.lake_files import lake_files, row_count, watermark
from realtime.parity.groups import (
    CHANGED,
    Groups,
    Span,
    compute_changed,
    copy_changed,
    delete_changed,
    find_changed,
    moment,
)
from realtime.parity.newest import load_newest
from realtime.planner.ir import Plan, SourceSpec, State, Step
from realtime.settings import Settings
from realtime.transpile.form import CLICKHOUSE

T = TypeVar("T")
_RELATION: Callable[[State], str] = operator.attrgetter("relation")
_NAME: Callable[[SourceSpec], str] = operator.attrgetter("name")
_NAMES = (TokenType.VAR, TokenType.IDENTIFIER)
_SELECT = "SELECT as_select FROM system.tables WHERE database = {database:String} AND name = {name:String}"
FOREVER = datetime(2262, 1, 1, tzinfo=UTC)


@dataclasses.dataclass(frozen=True)
class Databases:
    """Names of databases that are there, each with its companions: of real time as of the watermark, and of the groups
    that changed since, as they are kept and as they are computed anew."""

    then: str
    kept: str
    again: str


class Snapshot:
    """Real time as of ``watermarks``, by source, in ``databases``; `take` makes it.

    ``arrived`` counts the rows that each source got since; ``groups`` tells of each state, by relation, how many of its
    groups changed since, ``keys`` the same of each upserted source. ``problems`` says what can't be had as of then, by
    source or relation of a state.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        client: ClickHouse,
        connection: duckdb.DuckDBPyConnection,
        databases: Databases,
        watermarks: Mapping[str, datetime],
        folder: Path,
    ) -> None:
        self.settings, self.plan, self.client, self.connection = settings, plan, client, connection
        self.databases, self.watermarks, self.folder = databases, watermarks, folder
        self.groups: dict[str, Groups] = {}
        self.keys: dict[str, int] = {}
        self.arrived: dict[str, int] = {}
        self.problems: dict[str, str] = {}
        self._now = EPOCH
        self._spans = functools.cache(self._rows_of)
        self._made: set[tuple[str, str]] = set()

    def take(self, models: Collection[str], sources: Collection[str]) -> None:
        """Takes ``models`` and ``sources``, with everything that they read among them, back to the watermark.

        BusyError where an insert does not end; UnavailableError as the client.
        """
        steps = [step for step in self.plan.steps if step.model in models]
        states = list({s.relation: s for step in steps for s in step.states}.values())
        read = [source for source in self.plan.sources if source.name in sources]
        self._now = server_now(self.client)
        # What came before is then in the clones of states, and what is in these in the clones of landing tables.
        wait_for_inserts(self.client, [source.landing for source in read])
        self._each(states, _RELATION, lambda state: self._clone(state.relation, self._state(state)))
        self._each(read, _NAME, lambda source: self._clone(source.landing, self._landing(source)))
        self._each(states, _RELATION, self._take_back)
        self._each(read, _NAME, self._cut)

    def relation(self, model: str, database: str) -> str:
        """The view of ``model`` in ``database``, one of the three; it is made with those that it reads. CommandError
        where it can't be."""
        below = with_upstream(self.plan, [model])
        for step in self.plan.steps:
            if step.model in below and (step.model, database) not in self._made:
                self._create_view(step, database)
                self._made.add((step.model, database))
        return f"{database}.{model}"

    def problem(self, models: Collection[str], sources: Collection[str]) -> str:
        """Why ``models``, which read ``sources``, can't be had as of then; empty where they can."""
        states = {s.relation for step in self.plan.steps if step.model in models for s in step.states}
        return next((why for name, why in self.problems.items() if name in {*models, *sources, *states}), "")

    def groups_of(self, models: Collection[str]) -> Groups:
        """The groups of all states of ``models``."""
        states = {s.relation for step in self.plan.steps if step.model in models for s in step.states}
        found = [self.groups[relation] for relation in states]
        return Groups(sum(g.total for g in found), sum(g.changed for g in found), sum(g.moving for g in found))

    def changed_keys(self, sources: Collection[str]) -> int:
        """How many keys of ``sources`` changed."""
        return sum(self.keys.get(name, 0) for name in sources)

    def _each(self, items: Iterable[T], name: Callable[[T], str], work: Callable[[T], None]) -> None:
        for item in items:
            try:
                work(item)
            except (CommandError, ConfigError) as error:
                self.problems.setdefault(name(item), error.message)
            except duckdb.Error as error:
                self.problems.setdefault(name(item), str(error).splitlines()[0])

    def _clone(self, relation: str, to: str) -> None:
        self.client.execute(f"CREATE TABLE {to} CLONE AS {relation}")

    def _state(self, state: State, database: str = "") -> str:
        return f"{database or self.databases.then}_state.{state.relation.split('.')[1]}"

    def _landing(self, source: SourceSpec) -> str:
        return f"{self.databases.then}_raw.{source.landing.split('.')[1]}"

    def _take_back(self, state: State) -> None:
        """The clone of ``state`` without what came since; the groups that changed beside it, as kept and anew."""
        table, keys = self._state(state), state.order_by
        kept, again = (self._state(state, name) for name in (self.databases.kept, self.databases.again))
        for name in (kept, again):
            self.client.execute(f"CREATE TABLE {name} AS {table}")
        fed = [source for source in self.plan.sources if source.landing in {view.landing for view in state.views}]
        came = {source.landing: [(self._landing(source), self.watermarks[source.name], FOREVER)] for source in fed}
        found = find_changed(self.client, state, table, came, min(map(self._changed_from, fed)), self._now)
        self.groups[state.relation] = found
        if not found.changed:
            return
        copy_changed(self.client, table, keys, self._now, kept)
        now = {source.landing: self._until(source, self._now) for source in fed}
        compute_changed(self.client, state, table, now, again, self._now)
        delete_changed(self.client, table, keys)
        then = {source.landing: self._until(source, self.watermarks[source.name]) for source in fed}
        compute_changed(self.client, state, table, then, table)

    def _changed_from(self, source: SourceSpec) -> datetime:
        """A moment that no row which came after the watermark is older than. A source that has been quiet since its
        last file has an old watermark, and none of its groups changed."""
        if source.ttl:
            return self.watermarks[source.name]
        since = f"{INGESTED_AT} >= {moment(self.watermarks[source.name])}"
        first = f"SELECT toUnixTimestamp64Micro(min({INGESTED_AT})) FROM {self._landing(source)} WHERE {since}"
        return min(from_micros(int(self.client.value(f"{first} HAVING count() > 0") or micros(self._now))), self._now)

    def _until(self, source: SourceSpec, until: datetime) -> list[Span]:
        return [(table, since, min(end, until)) for table, since, end in self._spans(source) if since < until]

    def _rows_of(self, source: SourceSpec) -> list[Span]:
        """Where all rows of an appended source are: in the lake up to its end where a ``ttl`` has deleted some."""
        landing = self._landing(source)
        files = lake_files(self.settings, source.name) if source.ttl else ()
        end = watermark(files)
        there = self.client.value(f"SELECT count() FROM {landing} WHERE {INGESTED_AT} < {moment(end)}") if files else 0
        if not files or int(there) == row_count([file.path for file in files]):
            return [(landing, EPOCH, FOREVER)]
        work = Work(self.client, Ledger(self.client, self.plan.database), lambda _: None, lambda: None, "duet parity")
        lake = load_lakes(work, self.settings, [msgspec.structs.replace(source, landing=landing)])[landing]
        return [(lake.table, EPOCH, end), (landing, end, FOREVER)]

    def _cut(self, source: SourceSpec) -> None:
        """The clone of a landing table without what came since."""
        table, since = self._landing(source), f"{INGESTED_AT} >= {moment(self.watermarks[source.name])}"
        self.arrived[source.name] = int(self.client.value(f"SELECT count() FROM {table} WHERE {since}"))
        if not self.arrived[source.name]:
            return
        if source.mode == "append":
            self.client.execute(f"DELETE FROM {table} WHERE {since}")
            return
        names = ", ".join(map(quoted, source.key))
        changed = f"{table}{CHANGED}"
        self.client.execute(
            f"CREATE TABLE {changed} ENGINE = MergeTree ORDER BY tuple() AS SELECT DISTINCT {names} FROM {table} "
            f"WHERE {since}"
        )
        self.keys[source.name] = int(self.client.value(f"SELECT count() FROM {changed}"))
        rows = f"{table}__then"
        self.client.execute(f"CREATE TABLE {rows} AS {table}")
        load_newest(self.client, self.connection, source, changed, rows, self.folder)
        self.client.execute(f"DELETE FROM {table} WHERE tuple({names}) IN (SELECT tuple({names}) FROM {changed})")
        columns = ", ".join(quoted(c.name) for c in source.columns)
        self.client.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {rows}")

    def _create_view(self, step: Step, database: str) -> None:
        """The model's read view as the server has it; what it keeps no state for as a view too."""
        if step.published is not None:
            self._view(database, step.published.relation, f"SELECT * FROM {step.published.relation}")
        if step.refresh is not None:
            select = in_databases(step.refresh.select, self._tables(database))
            self._view(database, step.refresh.relation, select)
        own = {"database": self.plan.database, "name": step.model}
        select = self.client.value(_SELECT, own) or rendered(step, self.plan.database, self.plan.database)
        moved = in_databases(select, self._tables(database))
        self.client.execute(f"CREATE VIEW {database}.{quoted(step.model)} AS\n{moved}")

    def _tables(self, database: str) -> dict[tuple[str, str], str]:
        """The database in which each table and view is taken back, those of states as in ``database``."""
        found = {(self.plan.database, step.model): database for step in self.plan.steps}
        kept = [state.relation for step in self.plan.steps for state in step.states]
        kept += [made.relation for step in self.plan.steps for made in (step.refresh, step.published) if made]
        landed = [source.landing for source in self.plan.sources]
        for relations, then in ((kept, f"{database}_state"), (landed, f"{self.databases.then}_raw")):
            found |= {_pair(relation): then for relation in relations}
        return found

    def _view(self, database: str, relation: str, select: str) -> None:
        self.client.execute(f"CREATE VIEW {database}_state.{relation.split('.')[1]} AS\n{select}")


def _pair(relation: str) -> tuple[str, str]:
    database, name = relation.split(".")
    return database, name


def in_databases(select: str, tables: Mapping[tuple[str, str], str]) -> str:
    """``select`` over the same ``tables``, each in another database.

    >>> in_databases("SELECT 'a.b', a.c FROM `a`.b AS a, other.b", {("a", "b"): "then"})
    "SELECT 'a.b', a.c FROM then.b AS a, other.b"
    """
    tokens, found, at = CLICKHOUSE.tokenize(select), "", 0
    for token, dot, table in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if dot.token_type is TokenType.DOT and (token.text, table.text) in tables and token.token_type in _NAMES:
            found += select[at : token.start] + tables[token.text, table.text]
            at = token.end + 1
    return found + select[at:]
