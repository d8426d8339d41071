"""The plan: frozen records that say what runs in ClickHouse, and print themselves.

They are what `duet compile` writes to ``target/realtime/plan.json``, what `duet deploy`
carries out, and what the server, parity and Dagster read.
"""

from __future__ import annotations

import enum
import hashlib
from typing import Any

import msgspec


class Shape(enum.StrEnum):
    """How a model is kept in ClickHouse."""

    STREAM = "stream"
    AGGREGATE = "aggregate"
    LATEST = "latest"
    READ = "read"
    REFRESH = "refresh"
    PUBLISHED = "published"


class Column(msgspec.Struct, frozen=True):
    """A column: its DuckDB type as the binder prints it, and its ClickHouse type."""

    name: str
    type: str
    clickhouse: str
    description: str = ""


class Kafka(msgspec.Struct, frozen=True, kw_only=True):
    """A topic whose messages are rows of a source: JSON objects. ``brokers`` as ``host:port,host:port``.

    ``security_protocol`` is empty where connections are plain; ``password_env`` names the environment variable that
    holds the password of ``username``, which is never part of a plan."""

    brokers: str
    topic: str
    group: str
    consumers: int = 1
    security_protocol: str = ""
    sasl_mechanism: str = ""
    username: str = ""
    password_env: str = ""


INDEX_PREFIX = "ix_"
"""Begins the names of the indexes that authors ask for."""


class Index(msgspec.Struct, frozen=True):
    """A skip index of a table: over ``expression``, of the ClickHouse type ``type``. Its name is made of both."""

    name: str
    expression: str
    type: str


ALL = "_all"
"""Ends the name of the table over all shards of a cluster: the rows are in the one without this ending."""


class Shards(msgspec.Struct, frozen=True):
    """How a table is spread over ``cluster``: a row is on the shard that the hash of its columns ``by`` names."""

    cluster: str
    by: tuple[str, ...]


class SourceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A source that takes rows: ``name`` is ``<source>.<table>``, as in ``source('chat', 'messages')``.

    ``landing`` is the ClickHouse relation ``database.table`` that keeps its rows; ``batch`` the
    quoted relation that the batch engine reads. A column is nullable unless a ``not_null`` test
    is declared on it. Where rows expire by ``ttl``, ``whole_parts`` says that they do so by whole partitions, each
    ``lifetime`` (a ClickHouse interval) after its end. ``order_why``
    says what the order is made for, where lambdas decide. ``shards`` is unset where there is no cluster.
    """

    name: str
    landing: str
    quarantine: str
    batch: str
    columns: tuple[Column, ...]
    unique_id: str = ""
    not_null: tuple[str, ...] = ()
    mode: str = "append"
    key: tuple[str, ...] = ()
    version: str = ""
    deleted: str = ""
    event_time: str = ""
    order_by: tuple[str, ...] = ()
    partition_by: str = ""
    ttl: str = ""
    whole_parts: bool = False
    lifetime: str = ""
    indexes: tuple[Index, ...] = ()
    kafka: Kafka | None = None
    description: str = ""
    order_why: str = ""
    shards: Shards | msgspec.UnsetType = msgspec.UNSET

    @property
    def whole(self) -> str:
        """What takes and gives the rows of all shards: the landing table itself where there is no cluster."""
        return self.landing if self.shards is msgspec.UNSET else self.landing + ALL

    @property
    def whole_quarantine(self) -> str:
        """The same of its quarantine."""
        return self.quarantine if self.shards is msgspec.UNSET else self.quarantine + ALL


class View(msgspec.Struct, frozen=True):
    """A materialized view: rows of ``landing`` to ``state`` through ``select``.

    ``select`` is ClickHouse SQL that reads ``landing`` and nothing else; deploying adds the
    cut-over condition on ``_ingested_at`` to that table (see `realtime.deploy`).
    """

    name: str
    landing: str
    select: str


class State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A state table and the views that feed it. ``fingerprint`` names its version; ``latest`` says that it
    keeps the newest row per key. Its columns are what its views select. ``compact`` keeps the columns of a part
    in one file up to a gigabyte; ``why`` says what the order and the index are made for, where lambdas decide.
    On a cluster each shard keeps the state of its own landing rows, and who reads merges those of all.

    Where several models share it, ``models`` names them, each of their views fills its own columns, and ``structure``
    is a select that gives all columns.
    """

    name: str
    relation: str
    engine: str
    order_by: tuple[str, ...]
    partition_by: str = ""
    ttl: str = ""
    whole_parts: bool = False
    index_granularity: int = 8192
    views: tuple[View, ...] = ()
    latest: bool = False
    fingerprint: str = ""
    compact: bool = False
    why: str = ""
    indexes: tuple[Index, ...] = ()
    models: tuple[str, ...] = ()
    structure: str = ""
    shards: Shards | None = None

    @property
    def whole(self) -> str:
        """What gives the rows of all shards: the table itself where there is no cluster."""
        return self.relation if self.shards is None else self.relation + ALL


class Refresh(msgspec.Struct, frozen=True, kw_only=True):
    """A table ``relation`` whose rows the refreshable view ``view`` replaces as a whole, every ``every`` (a ClickHouse
    interval, ``5 MINUTE``).

    ``select`` reads landing tables, states and other models' tables, never a read view: those are replaced at another
    moment of a deploy. ``fingerprint`` names the version.
    """

    name: str
    relation: str
    view: str
    every: str
    select: str
    order_by: tuple[str, ...] = ()
    partition_by: str = ""
    index_granularity: int = 8192
    fingerprint: str = ""


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A table ``relation`` that takes a copy of the model's rows in batch, with the columns of its step.
    ``fingerprint`` names the version: it changes with the columns, not with how batch computes them."""

    name: str
    relation: str
    order_by: tuple[str, ...] = ()
    partition_by: str = ""
    index_granularity: int = 8192
    fingerprint: str = ""
    indexes: tuple[Index, ...] = ()


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A model and how it is kept.

    ``relation`` is the read view ``database.name`` that callers select from, ``batch`` the quoted
    relation of the same model in the batch engine, ``select`` the read view's ClickHouse SQL.
    ``depends_on`` names the models and sources (``chat.messages``) it reads, as authored. ``keys`` are the
    columns that identify a row of the model; empty where they are not known, or it has one row. ``remedy`` says what
    would keep on insert a model that is computed when read. ``refresh`` is the table of a model that is refreshed,
    ``published`` that of one which is copied from batch. ``own_rows`` is `realtime.planner.own_rows.own_rows` of one
    that shares its state.
    """

    model: str
    unique_id: str
    shape: Shape
    why: str
    relation: str
    batch: str
    select: str
    columns: tuple[Column, ...]
    depends_on: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    states: tuple[State, ...] = ()
    refresh: Refresh | None = None
    published: Published | None = None
    description: str = ""
    remedy: str = ""
    own_rows: str = ""

    def __str__(self) -> str:
        over = f" over {', '.join(s.relation for s in self.states)}" if self.states else ""
        return f"{self.model}: {self.shape}{over} ({self.why})"


AS_OF = "as_of"
"""The parameter that is the clock."""


class Param(msgspec.Struct, frozen=True, kw_only=True):
    """A lambda's parameter. ``type`` is the DuckDB type, ``clickhouse`` the type it is bound as.

    ``default`` is None where there is none (then a missing parameter is an error if ``required``,
    else NULL is bound). The parameter `AS_OF` has the server's time as its default. ``format`` is what a text must look
    like: a name of JSON Schema's, or an expression that begins with ``^``.
    """

    name: str
    type: str
    clickhouse: str
    required: bool = True
    default: Any = None
    description: str = ""
    minimum: Any = None
    maximum: Any = None
    enum: tuple[Any, ...] = ()
    format: str = ""


class Missing(enum.StrEnum):
    """What a lambda answers for a key of which the query for many keys has no row."""

    EMPTY = "empty"
    """No row either."""
    SAME = "same"
    """The same rows for every such key, as of ``count(*)`` over nothing."""
    ASK = "ask"
    """It depends: the query for one key tells."""


class Keyed(msgspec.Struct, frozen=True):
    """A lambda's query for many values of ``param`` at once: ``select`` takes them as an array, and the last column of
    every row, `realtime.planner.keyed.KEY`, says which one it belongs to."""

    param: str
    select: str
    missing: Missing


class CallLimits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a lambda may take, where its author says it; 0 is what every lambda may.

    ``seconds`` its query may run, ``rows`` it may answer, ``megabytes`` (MiB) of memory its query may use;
    ``concurrency`` is the number of its queries at a time in each server.
    """

    seconds: float = 0.0
    rows: int = 0
    megabytes: int = 0
    concurrency: int = 0


class Window(msgspec.Struct, frozen=True):
    """A lambda's queries over ``states``: whole pieces of time from there, the edges from landing rows. ``select`` is
    for one call, ``keyed`` for many ("": there is none), ``after`` for a page after the first. They answer as the
    lambda's own as long as these states hold all rows and the streams that it reads are those of ``streams`` (see
    `streams_digest`); ``why`` says what is used.
    """

    select: str
    keyed: str
    states: tuple[str, ...]
    why: str
    streams: str
    after: str = ""


class Nearest(msgspec.Struct, frozen=True):
    """A lambda's query over the rows that a vector index gives, as ``why`` says. An answer of fewer rows than ``rows``,
    or than the parameter ``param`` says, is none: then the lambda's own query is asked."""

    select: str
    why: str
    rows: int = 0
    param: str = ""


class Member(msgspec.Struct, frozen=True):
    """A model whose rows of one key a lambda reads together with others'. ``columns`` are those that it needs;
    ``required`` says that there is no row of the answer without one of this model. ``rows`` is
    `realtime.planner.own_rows.own_rows` of it."""

    model: str
    columns: tuple[str, ...]
    required: bool
    rows: str = ""


class Together(msgspec.Struct, frozen=True, kw_only=True):
    """A lambda's queries over the one state ``state`` that ``members`` share, grouped by ``keys``; ``keyed`` and
    ``alone`` as in `LambdaSpec`."""

    keys: tuple[str, ...]
    members: tuple[Member, ...]
    select: str
    keyed: Keyed | None = None
    alone: str = ""
    state: str = ""


PAGE_SIZE, CURSOR = "page_size", "cursor"
"""The parameters of a lambda that answers in pages."""
PAGE_ROWS, PAGE_AFTER = "__duet_rows", "__duet_after_"
"""What its queries are bound with, beside them: the rows of a page and one more, and the order keys (numbered from 1)
of the last row of the page before."""
PAGE_PLACE, PLACE = "__duet_place", "~"
"""The last column of its rows: the row's place (see `realtime.planner.paging.with_place`), and how that begins."""


class Paging(msgspec.Struct, frozen=True, kw_only=True):
    """Pages of a lambda: ``size`` rows unless the caller says, at most ``most``. Its own query is for the first page,
    ``after`` for the one after a row, whose order keys have the DuckDB types ``keys``. ``order`` is that order in
    words."""

    size: int
    most: int
    keys: tuple[str, ...]
    after: str
    order: str


class Read(msgspec.Struct, frozen=True):
    """A model that a query reads from its ``state`` (from its landing tables where that is empty), past its read view;
    ``rows`` is `realtime.planner.own_rows.own_rows` of it."""

    model: str
    state: str
    rows: str


class Direct(msgspec.Struct, frozen=True):
    """A lambda's queries with ``reads`` in place of their read views; ``keyed``, and ``after`` for a page after the
    first, are empty where there is none."""

    select: str
    keyed: str
    reads: tuple[Read, ...]
    after: str = ""


class LambdaSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A lambda, compiled: ``select`` is ClickHouse SQL with ``{name:Type}`` placeholders and its
    SETTINGS, ``batch`` the same query for DuckDB with ``$name`` parameters. ``version`` is the
    hash of ``select``, ``params`` and what the author says of calls. ``examples`` are parameter sets that the author
    gave. ``keyed`` answers many calls at once, where that is proven to answer the same; else ``alone`` says what
    stands against it. ``limits`` are its own; an answer is used again for ``cache_seconds``. ``window`` answers the
    same from states, where it aggregates a stream; else ``events`` says why rows are read.
    ``together`` answers the same from a state that its models share, else ``direct`` from states in place of read
    views: they belong to a plan, not to the version; ``apart`` says why there is no ``together``. One with
    ``paging`` answers a page; ``batch`` has all rows. ``nearest`` is asked first where the author
    takes an approximate answer.
    """

    name: str
    version: str
    select: str
    batch: str
    params: tuple[Param, ...]
    columns: tuple[Column, ...]
    description: str = ""
    depends_on: tuple[str, ...] = ()
    examples: tuple[dict[str, Any], ...] = ()
    keyed: Keyed | None = None
    alone: str = ""
    limits: CallLimits | None = None
    cache_seconds: float = 0.0
    window: Window | None = None
    events: str = ""
    together: Together | None = None
    direct: Direct | None = None
    apart: str = ""
    paging: Paging | None = None
    nearest: Nearest | None = None


class DataTest(msgspec.Struct, frozen=True, kw_only=True):
    """A custom data test of the author (singular, or a generic one that is not dbt's own), compiled.

    ``select`` is ClickHouse SQL that returns the failing rows, as dbt runs it; empty where the test can't be
    kept, and then ``reason`` says why. ``config`` is what dbt needs to judge the rows (severity, error_if …);
    ``depends_on`` are the unique ids of what it reads.
    """

    name: str
    select: str
    config: dict[str, Any] = {}
    description: str = ""
    reason: str = ""
    depends_on: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


class CarriedTest(msgspec.Struct, frozen=True, kw_only=True):
    """One of dbt's own data tests, which runs on ClickHouse by its ``name`` with ``arguments``.

    ``on`` is the unique id of its model or source, ``column`` empty where it is on all of it; ``depends_on`` are the
    unique ids of everything that it reads.
    """

    on: str
    name: str
    column: str = ""
    arguments: dict[str, Any] = {}
    config: dict[str, Any] = {}
    depends_on: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} on {'.'.join([*self.on.split('.')[2:], *([self.column] if self.column else [])])}"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a deploy makes so. ``database`` holds the read views; landing tables live in
    ``<database>_raw``, states in ``<database>_state``, what Duet keeps for itself in ``<database>_duet``.
    """

    project: str
    database: str
    sources: tuple[SourceSpec, ...]
    steps: tuple[Step, ...]
    lambdas: tuple[LambdaSpec, ...] = ()
    tests: tuple[DataTest, ...] = ()
    carried: tuple[CarriedTest, ...] = ()


def plan_id(plan: Plan) -> str:
    """Names a plan by its contents."""
    return hashlib.sha256(msgspec.json.encode(plan)).hexdigest()[:12]


def streams_digest(plan: Plan, spec: LambdaSpec) -> str:
    """Names the streams that ``spec`` reads by what they are in ``plan``."""
    streams = [[s.model, s.select] for s in plan.steps if s.model in spec.depends_on and s.shape is Shape.STREAM]
    return hashlib.sha256(msgspec.json.encode(sorted(streams))).hexdigest()[:12]
