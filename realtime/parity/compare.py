"""Parity: every row of a model in batch against every row in real time.

Both sides are multisets of rows, compared inside DuckDB: a row counts as differing when the other side has no row
left that equals it. Equal means the same value in every column (NULL equals NULL, NaN equals NaN); only floating
columns may differ by rounding, see `realtime.parity.matching`.

Batch holds the rows up to a watermark, that of the export it was built on. Where more have come since, real time is
compared as it was then, see `realtime.parity.snapshot`.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import duckdb
import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.moment import EPOCH
from realtime.clickhouse.temporary import drop_left_behind, temporary_database
from realtime.deploy.freshness import Fresh, freshness
from realtime.deploy.refreshes import refresh_below, with_upstream
from realtime.errors import CommandError, NotFoundError
from realtime.ingest.lake import open_batch
from realtime.parity.age import Age
from realtime.parity.groups import Groups
from realtime.parity.matching import Example, differing_rows, examples, match
from realtime.parity.sides import Side, batch_side, realtime_side
from realtime.parity.snapshot import Databases, Snapshot
from realtime.planner.ir import Plan, Shape, Step
from realtime.project.profile import duckdb_path
from realtime.settings import Settings

# Larger models spill to disk.
_MEMORY = "2GB"
_DATABASES = "parity"
_LEFT_BEHIND = 86_400
"""Seconds after which the databases of a run that was killed are dropped by the next one."""
_KEPT_AND_ANEW = {"batch": "landing rows", "realtime": "state"}


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A model on both sides. ``differing`` counts the rows that are on one side only after matching.

    A relation that is missing or of other columns has no row in common with the other side: then all rows of both
    differ, and at least 1 is counted. ``reason`` says what is known of the cause; empty where nothing differs.
    ``as_of`` is the age of the rows in real time; None for what is kept on every insert or computed when read.
    ``watermark`` is set where rows came since batch had them, and real time is compared as of then: ``arrived`` counts
    them, ``changed`` the groups of states that got some, of which ``left_out`` could not be compared as they are kept.
    ``note`` says so in words.
    """

    model: str
    shape: str
    rows_batch: int
    rows_realtime: int
    differing: int
    reason: str = ""
    examples: tuple[Example, ...] = ()
    as_of: datetime | None = None
    watermark: datetime | None = None
    arrived: int = 0
    changed: int = 0
    left_out: int = 0
    note: str = ""

    def __str__(self) -> str:
        counts = f"{self.rows_batch} rows in batch, {self.rows_realtime} in real time, {self.differing} differ"
        return f"{self.model} ({self.shape}): {counts}" + "".join(f": {t}" for t in (self.reason, self.note) if t)


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
        self.settings, self.plan, self.client, self.connection, self.folder = settings, plan, client, connection, folder
        self.fresh: tuple[Fresh, ...] = ()
        self.problems: Mapping[str, str] = {}
        self.steps: Sequence[Step] = ()
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
        self.steps = steps
        self.problems = refresh_below(self.client, self.plan, [step.model for step in steps])
        self.fresh = freshness(self.client, self.plan)
        ages = {each.model: each.as_of for each in self.fresh}
        found = {step.model: self._as_it_is(step) for step in steps if not self._moves(step)}
        # Rows may have come while a model was compared.
        late = [s for s in steps if s.model not in found or (found[s.model].differing and self._moves(s))]
        found |= self._as_they_were(late) if late else {}
        return tuple(msgspec.structs.replace(found[step.model], as_of=ages.get(step.model)) for step in steps)

    def _moves(self, step: Step) -> bool:
        """Whether rows came since batch had them, before which real time can be had too."""
        return not self.client.cluster and bool(self.age.arrived(step))

    def _as_they_were(self, steps: Sequence[Step]) -> dict[str, Compared]:
        """``steps`` compared as of the watermark."""
        drop_left_behind(self.client, _DATABASES, _LEFT_BEHIND)
        with contextlib.ExitStack() as stack:
            made = (stack.enter_context(temporary_database(self.client, _DATABASES)) for _ in range(3))
            snapshot = Snapshot(
                self.settings,
                self.plan,
                self.client,
                self.connection,
                Databases(*made),
                self.age.watermarks,
                self.folder,
            )
            snapshot.take(self._models(steps), self._sources(steps))
            return {step.model: self._as_it_was(step, snapshot) for step in steps}

    def _models(self, steps: Sequence[Step]) -> set[str]:
        return with_upstream(self.plan, [step.model for step in steps])

    def _sources(self, steps: Sequence[Step]) -> set[str]:
        return {name for step in steps for name in self.age.upstream(step)}

    def _as_it_is(self, step: Step) -> Compared:
        """The model compared with what it answers now."""
        return self._explained(step, self._beside(step, step.relation), self.age.reason)

    def _as_it_was(self, step: Step, snapshot: Snapshot) -> Compared:
        """The model compared with what it answered at the watermark, and what changed since with its landing rows."""
        models, sources = self._models([step]), self._sources([step])
        problem = snapshot.problem(models, sources)
        if problem:
            return self._not_then(step, problem)
        groups = snapshot.groups_of(models)
        own = snapshot.groups_of({step.model} | (models - {each.model for each in self.steps}))
        refreshed = any(s.refresh is not None for s in self.plan.steps if s.model in models)
        try:
            found = self._beside(step, snapshot.relation(step.model, snapshot.databases.then))
            # What others keep is compared with them.
            if own.changed > own.moving:
                found = self._with_changed(step, found, snapshot)
        except CommandError as error:
            return self._not_then(step, error.message)
        found = msgspec.structs.replace(
            found,
            watermark=max(self.age.watermarks[name] for name in sources),
            arrived=sum(snapshot.arrived[name] for name in sources),
            changed=groups.changed,
            left_out=groups.moving,
        )
        found = msgspec.structs.replace(
            found, note=_note(found, groups, snapshot.changed_keys(sources), refreshed=refreshed)
        )
        return self._explained(step, found, self.age.lost)

    def _not_then(self, step: Step, problem: str) -> Compared:
        """The model compared with what it answers now, since what it answered then can't be had."""
        found = self._as_it_is(step)
        why = f"real time can't be had as it was at the last export: {problem}"
        return msgspec.structs.replace(found, reason=_joined(found.reason, why)) if found.differing else found

    def _with_changed(self, step: Step, found: Compared, snapshot: Snapshot) -> Compared:
        """``found``, and the groups that changed since the watermark: as their states have them, and anew from rows."""
        sides = []
        for view, database in (("realtime", snapshot.databases.kept), ("batch", snapshot.databases.again)):
            asked = msgspec.structs.replace(step, relation=snapshot.relation(step.model, database))
            sides.append(realtime_side(self.connection, self.client, asked, self.folder / f"{view}.parquet", view))
        apart = self._matched(step, *reversed(sides))
        if not apart.differing:
            return found
        named = tuple(msgspec.structs.replace(e, side=_KEPT_AND_ANEW[e.side]) for e in apart.examples)
        return msgspec.structs.replace(
            found,
            differing=found.differing + apart.differing,
            reason=_joined(found.reason, apart.reason or "states differ from what their landing rows make of them"),
            examples=found.examples + named,
        )

    def _beside(self, step: Step, relation: str) -> Compared:
        """The rows of batch beside those of ``relation``."""
        asked = msgspec.structs.replace(step, relation=relation)
        batch = batch_side(self.connection, step)
        return self._matched(
            step, batch, realtime_side(self.connection, self.client, asked, self.folder / "realtime.parquet")
        )

    def _matched(self, step: Step, batch: Side, realtime: Side) -> Compared:
        """The views ``batch`` and ``realtime`` matched, whose sides these are."""
        if batch.problem or realtime.problem:
            return _apart(step, batch, realtime)
        try:
            match(self.connection, step)
            differing = differing_rows(self.connection)
            found = examples(self.connection, step) if differing else ()
        except duckdb.Error as error:
            problem = f"the rows can't be compared: {str(error).splitlines()[0]}"
            return _apart(step, msgspec.structs.replace(batch, problem=problem), realtime)
        return _compared(step, batch, realtime, differing, "", found)

    def _explained(self, step: Step, found: Compared, age: Callable[[Step], str]) -> Compared:
        """``found`` with all that is known of the cause; where sides are missing, that is it."""
        below = with_upstream(self.plan, [step.model])
        reasons = [problem for name, problem in self.problems.items() if name in below]
        if found.differing and found.examples:
            reasons += [found.reason, age(step), *(_copied(f) for f in self.fresh if f.model in below)]
        else:
            reasons = [found.reason] if found.reason else reasons
        return msgspec.structs.replace(found, reason=_joined(*reasons))


def _apart(step: Step, batch: Side, realtime: Side) -> Compared:
    """The sides can't be laid beside each other."""
    problem = _joined(batch.problem, realtime.problem)
    return _compared(step, batch, realtime, max(1, batch.rows + realtime.rows), problem, ())


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _note(found: Compared, groups: Groups, keys: int, *, refreshed: bool) -> str:
    """What was compared, where rows came since the watermark."""
    exported = found.watermark is not None and found.watermark > EPOCH
    told = [f"as of the export up to {found.watermark:%Y-%m-%d %H:%M:%S}Z" if exported else "as of its first row"]
    into = f", into {groups.changed:,} of {groups.total:,} groups" if groups.changed else ""
    told.append(f"{found.arrived:,} rows came since{into}")
    if keys:
        told.append(f"{keys:,} upserted keys changed since, and are compared as the lake has them")
    if groups.moving:
        told.append(f"{groups.moving:,} groups kept changing, whose states are not compared: run it while no rows come")
    if refreshed:
        told.append("of refreshed models the query is compared, not the table that it fills")
    return "; ".join(told)


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
