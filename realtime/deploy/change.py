"""What a deploy does, one record per thing."""

from __future__ import annotations

import enum

import msgspec


class Kind(enum.StrEnum):
    """What is done to the subject of a change."""

    CREATE_SOURCE = "create source"
    ADD_COLUMN = "add column"
    WIDEN_COLUMN = "widen column"
    CHANGE_TTL = "change ttl"
    REBUILD_SOURCE = "rebuild landing table"
    DROP_COLUMN = "drop column"
    DROP_SOURCE = "drop landing table"
    CONNECT_TOPIC = "connect topic"
    DISCONNECT_TOPIC = "disconnect topic"
    ADD_INDEX = "add index"
    DROP_INDEX = "drop index"
    CREATE_STATE = "create state"
    CREATE_REFRESH = "create refreshed table"
    PUBLISH = "publish"
    BACKFILL_STATE = "backfill state"
    KEEP_STATE = "keep state"
    DROP_STATE = "drop state"
    DROP_MATERIALIZED_VIEW = "drop materialized view"
    CREATE_VIEW = "create read view"
    REPLACE_VIEW = "replace read view"
    DROP_VIEW = "drop read view"
    RUN_TEST = "run test"
    DROP_TEST = "drop test"
    REGISTER_LAMBDA = "register lambda"
    MOVE_LAMBDA = "move lambda"
    RETIRE_LAMBDA = "retire lambda"
    DROP_STAGING = "drop staging"
    RECORD_PLAN = "record plan"


DROPPED = frozenset({Kind.DROP_STATE, Kind.DROP_MATERIALIZED_VIEW, Kind.DROP_VIEW})
"""What the end of a deploy drops, after the new version serves."""

UNBUILT = DROPPED | {
    Kind.KEEP_STATE,
    Kind.DROP_TEST,
    Kind.REGISTER_LAMBDA,
    Kind.MOVE_LAMBDA,
    Kind.RETIRE_LAMBDA,
    Kind.DROP_STAGING,
    Kind.DROP_SOURCE,
    Kind.ADD_INDEX,
    Kind.DROP_INDEX,
    Kind.CONNECT_TOPIC,
    Kind.DISCONNECT_TOPIC,
}
"""What changes no read view and asks for no test."""

_ROWS = {Kind.REBUILD_SOURCE: "copy", Kind.DROP_SOURCE: "lose", Kind.CHANGE_TTL: "lose", Kind.DROP_COLUMN: "touch"}
_ROWS[Kind.ADD_INDEX] = "index"


class Change(msgspec.Struct, frozen=True):
    """One thing to do: ``subject`` is its relation (a column's with its name), ``rows`` about how many landing rows
    it reads or changes. ``destructive`` says that what is lost can't be computed again from what stays."""

    kind: Kind
    subject: str
    reason: str
    rows: int = 0
    destructive: bool = False

    def __str__(self) -> str:
        rows = f", about {self.rows:,} rows to {_ROWS.get(self.kind, 'backfill')}" if self.rows else ""
        mark = " [destructive]" if self.destructive else ""
        return f"{self.kind} {self.subject}: {self.reason}{rows}{mark}"
