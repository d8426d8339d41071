"""Parity: every row of a model in batch against every row in real time.

Both sides are multisets of rows, compared inside DuckDB: a row counts as differing when the other side has no row
left that equals it. Equal means the same value in every column (NULL equals NULL, NaN equals NaN); only floating
columns may differ by rounding, see `realtime.parity.matching`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import duckdb
import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.freshness import Fresh, freshness
from realtime.deploy.refreshes import refresh_below, with_upstream
from realtime.errors import NotFoundError
from realtime.ingest.lake import open_batch
from realtime.parity.age import Age
from realtime.parity.matching import Example, differing_rows, examples, match
from realtime.parity.sides import Side, batch_side, realtime_side
from realtime.planner.ir import Plan, Shape, Step
from realtime.project.profile import duckdb_path
from realtime.settings import Settings

# Larger models spill to disk.
_MEMORY = "2GB"


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A model on both sides. ``differing`` counts the rows that are on one side only after matching.

    A relation that is missing or of other columns has no row in common with the other side: then all rows of both
    differ, and at least 1 is counted. ``reason`` says what is known of the cause; empty where nothing differs.
    ``as_of`` is the age of the rows in real time; None for what is kept on every insert or computed when read.
    """

    model: str
    shape: str
    rows_batch: int
    rows_realtime: int
    differing: int
    reason: str = ""
    examples: tuple[Example, ...] = ()
    as_of: datetime | None = None

    def __str__(self) -> str:
        counts = f"{self.rows_batch} rows in batch, {self.rows_realtime} in real time, {self.differing} differ"
        return f"{self.model} ({self.shape}): {counts}" + (f": {self.reason}" if self.reason else "")


def parity(settings: Settings, plan: Plan, client: ClickHouse, models: Sequence[str] = ()) -> tuple[Compared, ...]:
    """Compares ``models`` (all of the plan where none is named) between the batch database and ClickHouse.

    What is refreshed on a schedule is refreshed first, so that both sides are of the same rows. What is wrong with a
    model stands in its record. NotFoundError where the plan has no such model, BusyError while another process has the
    batch database open, UnavailableError where ClickHouse does not answer.
    """
    steps = _chosen(plan, models)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    path = duckdb_path(settings.project_dir)
    with tempfile.TemporaryDirectory(prefix="parity-", dir=settings.state_dir) as folder:
        if not path.exists():
            # Nothing was built yet: every batch relation is missing.
            with duckdb.connect() as connection:
                return _Comparison(settings, plan, client, connection, Path(folder)).run(steps)
        with open_batch(path, read_only=True) as connection:
            return _Comparison(settings, plan, client, connection, Path(folder)).run(steps)


def _chosen(plan: Plan, models: Sequence[str]) -> list[Step]:
    steps: Mapping[str, Step] = {step.model: step for step in plan.steps}
    unknown = [name for name in models if name not in steps]
    if unknown:
        raise NotFoundError(
            f"no model {', '.join(unknown)} is kept in real time", remedy=f"there are {', '.join(steps) or 'none'}"
        )
    return [steps[name] for name in models] if models else list(plan.steps)


class _Comparison:
    """One run of parity: both engines, and a folder for what passes between them."""

    def __init__(
        self, settings: Settings, plan: Plan, client: ClickHouse, connection: duckdb.DuckDBPyConnection, folder: Path
    ) -> None:
        self.plan, self.client, self.connection, self.folder = plan, client, connection, folder
        self.fresh: tuple[Fresh, ...] = ()
        self.age = Age(settings, plan, client, connection)
        for setting, value in {
            "TimeZone": "UTC",
            "memory_limit": _MEMORY,
            "temp_directory": str(folder / "spill"),
            "preserve_insertion_order": "false",
            # As dbt has it: relative paths in the project's views start there.
            "file_search_path": str(settings.project_dir),
        }.items():
            connection.execute(f"SET {setting} = $1", [value])

    def run(self, steps: Sequence[Step]) -> tuple[Compared, ...]:
        problems = refresh_below(self.client, self.plan, [step.model for step in steps])
        self.fresh = freshness(self.client, self.plan)
        ages = {each.model: each.as_of for each in self.fresh}
        return tuple(
            msgspec.structs.replace(self._compare(step, problems), as_of=ages.get(step.model)) for step in steps
        )

    def _compare(self, step: Step, problems: Mapping[str, str]) -> Compared:
        batch = batch_side(self.connection, step)
        realtime = realtime_side(self.connection, self.client, step, self.folder / "realtime.parquet")
        if batch.problem or realtime.problem:
            return self._apart(step, batch, realtime)
        try:
            match(self.connection, step)
            differing = differing_rows(self.connection)
            found = examples(self.connection, step) if differing else ()
        except duckdb.Error as error:
            problem = f"the rows can't be compared: {str(error).splitlines()[0]}"
            return self._apart(step, msgspec.structs.replace(batch, problem=problem), realtime)
        below = with_upstream(self.plan, [step.model])
        stale = [problem for name, problem in problems.items() if name in below]
        if differing:
            stale += [self.age.reason(step), *(_copied(f) for f in self.fresh if f.model in below)]
        reason = "; ".join(filter(None, stale))
        return _compared(step, batch, realtime, differing, reason, found)

    def _apart(self, step: Step, batch: Side, realtime: Side) -> Compared:
        """The sides can't be laid beside each other."""
        reason = "; ".join(problem for problem in (batch.problem, realtime.problem) if problem)
        return _compared(step, batch, realtime, max(1, batch.rows + realtime.rows), reason, ())


def _copied(found: Fresh) -> str:
    """When a published model was copied, which batch may have built again since."""
    published = found.shape == Shape.PUBLISHED and found.as_of is not None
    return f"{found.model} is published as of {found.as_of:%Y-%m-%d %H:%M:%S}Z: run duet publish" if published else ""


def _compared(
    step: Step, batch: Side, realtime: Side, differing: int, reason: str, found: tuple[Example, ...]
) -> Compared:
    return Compared(
        model=step.model,
        shape=str(step.shape),
        rows_batch=batch.rows,
        rows_realtime=realtime.rows,
        differing=differing,
        reason=reason,
        examples=found,
    )
