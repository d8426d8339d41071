"""A unit test on ClickHouse, in databases of its own: the given rows go in through the real materialized views, a few
at a time and in any order; then the compiled SELECT and the read view are compared with the expected rows."""

from __future__ import annotations

import asyncio
import random
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import msgspec
from sqlglot import exp

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.diff import refreshes_of, states_of
from realtime.deploy.promote import rendered
from realtime.deploy.refreshes import refresh_below
from realtime.emit.ddl import refresh_ddl, state_ddl
from realtime.emit.landing import create_landing
from realtime.emit.names import quoted
from realtime.errors import BadRequestError, CommandError
from realtime.ingest.piece import of_lines
from realtime.ingest.readers import typed_rows
from realtime.ingest.schema import Schema
from realtime.ingest.writer import RowsRefusedError, Writer
from realtime.parity.matching import differing_rows, examples, match
from realtime.parity.sides import batch_side, realtime_side
from realtime.planner.ir import Column, SourceSpec, Step
from realtime.project.binder import table
from realtime.testing.fixtures import EXPECTED
from realtime.testing.variant import Variant
from realtime.testing.verdict import Status, Verdict, not_applicable

DATABASES = "test"
"""What databases of unit tests are for, as their names say."""
_INSERTS = 24
"""At most about this many inserts a test: a large fixture goes in larger batches."""
_SIDES = {"batch": "expected", "realtime": "actual"}


class Trial:
    """One unit test in ``database``; ``connection`` holds its given and expected rows, ``tested`` are the columns
    that are compared."""

    def __init__(
        self,
        client: ClickHouse,
        connection: duckdb.DuckDBPyConnection,
        variant: Variant,
        tested: Sequence[Column],
        database: str,
    ) -> None:
        self._client, self._connection, self._variant = client, connection, variant
        self._tested, self._database = tuple(tested), database

    def run(self) -> tuple[Verdict, Verdict]:
        """The verdicts on the compiled SELECT and on the way through materialized views. Not applicable where a
        landing table can't hold a given row: its like would be in quarantine."""
        try:
            inserts = [_Insert(spec, self._lines(spec)) for spec in self._variant.sources]
        except BadRequestError as error:
            return not_applicable(error.message), not_applicable(error.message)
        for spec in self._variant.sources:
            self._client.execute(create_landing(spec))
        problems = [self._make_states(), asyncio.run(self._insert(inserts)), self._refresh()]
        problem = next(filter(None, problems), "")
        (kept,) = self._variant.kept.steps
        through = Verdict(Status.ERROR, problem) if problem else self._compared(kept, "kept")
        return self._compared(self._variant.compiled, "compiled"), through

    def _lines(self, spec: SourceSpec) -> list[bytes]:
        """The given rows as the ingest sends them to ClickHouse; BadRequestError where it would not."""
        given, name = self._connection.table(spec.batch), spec.name.removeprefix("given.")
        body = b"".join(batch.body for batch in typed_rows(Path(name), given, spec).batches())
        checked = Schema(spec).check(of_lines(body))
        if checked.bad:
            bad = checked.bad[0]
            reasons = ", ".join(f"column {c} {r}" for c, r in zip(bad.columns, bad.reasons, strict=True))
            raise BadRequestError(f"the given row {bad.row} of {name} can't land: {reasons}")
        return checked.rows.splitlines(keepends=True)

    def _make_states(self) -> str:
        """Makes states and their views; what ClickHouse says where it refuses one."""
        try:
            for state in states_of(self._variant.kept).values():
                for statement in state_ddl(state):
                    self._client.execute(statement)
            for refresh in refreshes_of(self._variant.kept).values():
                for statement in refresh_ddl(refresh):
                    self._client.execute(statement)
        except CommandError as error:
            return error.message
        return ""

    def _refresh(self) -> str:
        """Refreshes a model that is kept so; what fails where it does."""
        problems = refresh_below(self._client, self._variant.kept, [s.model for s in self._variant.kept.steps])
        return "; ".join(problems.values())

    async def _insert(self, inserts: Sequence[_Insert]) -> str:
        """Inserts the rows of all inputs in turn, shuffled; what a materialized view says where it throws."""
        writer, problem = Writer(self._client.endpoint), ""
        # The same order in every run of the same test.
        order = random.Random(self._variant.compiled.unique_id)
        waiting = [(each.statement, rows) for each in inserts for rows in each.batches(order)]
        order.shuffle(waiting)
        try:
            for statement, rows in waiting:
                try:
                    await writer.insert(statement, rows, uuid.uuid4().hex)
                except RowsRefusedError as error:
                    problem = problem or f"a row is refused on insert: {error.reason}"
        finally:
            await writer.close()
        return problem

    def _compared(self, step: Step, name: str) -> Verdict:
        """Compares the view ``name``, made of ``step``, with the expected rows."""
        try:
            self._create_view(step, name)
        except CommandError as error:
            return Verdict(Status.ERROR, error.message)
        subject = msgspec.structs.replace(
            step, relation=f"{self._database}.{name}", batch=table(EXPECTED).sql("duckdb"), columns=self._tested
        )
        expected = batch_side(self._connection, subject)
        with tempfile.TemporaryDirectory(prefix="duet-test-") as folder:
            actual = realtime_side(self._connection, self._client, subject, Path(folder) / "actual.parquet")
            problem = expected.problem or actual.problem
            if problem:
                return Verdict(Status.ERROR, problem)
            match(self._connection, subject)
            differing = differing_rows(self._connection)
            if not differing:
                return Verdict(Status.PASS)
            shown = examples(self._connection, subject)
        reason = f"{expected.rows} rows expected, {actual.rows} found, {differing} are on one side only"
        renamed = tuple(msgspec.structs.replace(e, side=_SIDES[e.side]) for e in shown)
        return Verdict(Status.FAIL, reason, differing, renamed)

    def _create_view(self, step: Step, name: str) -> None:
        """The view of the model's SQL, and over it one of the compared columns."""
        whole = exp.table_(f"{name}_whole", db=self._database, quoted=True)
        select = rendered(step, self._database, self._database)
        self._client.execute(f"CREATE VIEW {whole.sql('clickhouse')} AS\n{select}")
        columns = exp.select(*(exp.column(c.name, quoted=True) for c in self._tested)).from_(whole)
        self._client.execute(f"CREATE VIEW {self._database}.{quoted(name)} AS {columns.sql('clickhouse')}")


class _Insert:
    """The rows of one input."""

    def __init__(self, spec: SourceSpec, lines: Sequence[bytes]) -> None:
        self.statement = Schema(spec).insert
        self._lines = lines

    def batches(self, order: random.Random) -> Iterator[bytes]:
        """The rows, shuffled, one to three at a time, more where there are many."""
        lines = list(self._lines)
        order.shuffle(lines)
        most = max(3, 2 * len(lines) // _INSERTS)
        while lines:
            size = order.randint(1, most)
            yield b"".join(lines[:size])
            lines = lines[size:]
