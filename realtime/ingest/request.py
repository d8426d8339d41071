"""One request's way through ingest: the source that it is for, and what became of its rows."""

from __future__ import annotations

import msgspec

from realtime.errors import BadRequestError
from realtime.ingest.batch import Batch
from realtime.ingest.reasons import BadRow
from realtime.ingest.records import declared
from realtime.ingest.room import Share
from realtime.ingest.schema import Schema
from realtime.planner.ir import SourceSpec


class Taken(msgspec.Struct, frozen=True):
    """What became of a request's rows. Each is in the landing table or in quarantine, on disk."""

    successful_rows: int
    quarantined_rows: int


class Stored(msgspec.Struct, frozen=True):
    """The same, with ``refused``: fingerprints of the rows that did not fit the source, in quarantine now."""

    taken: Taken
    refused: tuple[int, ...]


class Source:
    """What one source of a plan needs: its checks, and how its rows and refused rows are inserted."""

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec
        self.declaration = declared(spec)
        self.quarantine = (
            f"INSERT INTO {spec.quarantine} ({', '.join(('request_id', *BadRow.__struct_fields__))}) FORMAT JSONEachRow"
        )
        self._posts = Schema(spec)
        self._deletes = Schema(spec, deletes=True) if spec.deleted else None

    def schema(self, method: str) -> Schema:
        """The checks of a POST, a PATCH or a DELETE; BadRequestError where rows can't be changed or deleted."""
        if method == "PATCH" and self.spec.mode != "upsert":
            raise BadRequestError(
                f"rows of source {self.spec.name} can't be changed: it takes appended rows only",
                remedy="declare meta.realtime with mode: upsert, key and version, and deploy",
            )
        if method != "DELETE":
            return self._posts
        if self._deletes is None:
            upserted = self.spec.mode == "upsert"
            raise BadRequestError(
                f"rows can't be deleted from source {self.spec.name}: it "
                + ("declares no column for deletions" if upserted else "takes appended rows only"),
                remedy="declare meta.realtime with mode: upsert, key, version and deleted, and deploy",
            )
        return self._deletes


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """``method`` is POST, PATCH or DELETE; ``key`` is empty and ``batch`` None for one without an Idempotency-Key.

    The inserts of one with a key are parts of its ``batch``. ``only`` are fingerprints of the rows that are taken,
    those that an earlier request left in quarantine: what does not fit still, is there. None takes all.
    """

    source: Source
    method: str
    id: str
    share: Share
    key: str = ""
    batch: Batch | None = None
    only: frozenset[int] | None = None

    def part(self, name: object) -> Batch | None:
        """The batch of one of its inserts: the same whenever the request comes."""
        return self.batch.part(name) if self.batch else None
