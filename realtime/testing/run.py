"""What `duet test` does: the authored tests in batch, in real time, and unit tests through materialized views too."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import duckdb
import sqlglot

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.temporary import drop_left_behind, temporary_database
from realtime.deploy.live import active_plan
from realtime.deploy.refreshes import refresh_below, with_upstream
from realtime.errors import DuetError, NotFoundError, RefusedError, SourceError
from realtime.ingest.lake import open_batch, relation_comment
from realtime.parity.age import Age
from realtime.planner.ir import Plan
from realtime.project.manifest import Project, Test, read_manifest
from realtime.project.profile import duckdb_path, profiles_dir
from realtime.settings import Settings
from realtime.testing.data_tests import Carried
from realtime.testing.dbt_results import Result, run_dbt_tests
from realtime.testing.fixtures import PREFIX, connect, in_duckdb, load_compiled, load_expected
from realtime.testing.trial import DATABASES, Trial
from realtime.testing.unit_tests import UnitTest, batch_only, read_unit_tests
from realtime.testing.variant import given_source, plan_variant
from realtime.testing.verdict import Judged, Status, Verdict, disagreement, not_applicable

Advance = Callable[[int, int], None]

_LEFT_BEHIND = 3600
"""Seconds after which databases of a run that was killed are dropped by the next one."""

_DATA_TEST = not_applicable("a data test looks at rows, wherever they came from")


def run_tests(
    settings: Settings, plan: Plan, client: ClickHouse, models: Sequence[str], advance: Advance
) -> tuple[Judged, ...]:
    """Runs the tests of ``models`` (all where none is named) of the project whose ``plan`` was just compiled.

    Data tests run against the batch database and the deployed read views, unit tests in databases of their own.
    ``advance`` takes steps done and steps in all. NotFoundError where there is no such model, CommandError where dbt
    fails before it runs a test, UnavailableError where ClickHouse does not answer.
    """
    return _Run(settings, plan, client, models).run(advance)


class _Run:
    """One run: the project on both sides."""

    def __init__(self, settings: Settings, plan: Plan, client: ClickHouse, models: Sequence[str]) -> None:
        self.settings, self.plan, self.client = settings, plan, client
        manifest = settings.project_dir / "target" / "manifest.json"
        self.project = read_manifest(manifest)
        self.chosen = _chosen(self.project, models)
        self.unrefreshed: Mapping[str, str] = {}
        self.unit_tests = [t for t in read_unit_tests(manifest) if not models or t.model in self.chosen]

    def run(self, advance: Advance) -> tuple[Judged, ...]:
        """All verdicts: data tests first, then unit tests."""
        total = 2 + len(self.unit_tests)
        advance(0, total)
        with ThreadPoolExecutor(1) as beside:
            realtime = beside.submit(self._dbt_in_real_time)
            batch = self._dbt_in_batch()
            advance(1, total)
            found = realtime.result()
        advance(2, total)
        tests = self._data_tests(batch, found)
        drop_left_behind(self.client, DATABASES, _LEFT_BEHIND)
        for done, test in enumerate(self.unit_tests, 3):
            tests.append(self._unit_test(test, batch.get(test.unique_id)))
            advance(done, total)
        return tuple(tests)

    def _dbt_in_batch(self) -> dict[str, Result]:
        # Not the project's own target folder: dbt would leave another manifest there than `duet compile` did.
        target = self.settings.state_dir / "tests"
        parsed = self.settings.project_dir / "target" / "partial_parse.msgpack"
        target.mkdir(parents=True, exist_ok=True)
        if parsed.exists():
            (target / parsed.name).write_bytes(parsed.read_bytes())
        root = self.settings.project_dir
        return run_dbt_tests(root, profiles_dir(root), target, [_selector(u) for u in self.chosen])

    def _dbt_in_real_time(self) -> dict[str, Result] | str:
        """Results of the generated project's tests; why they were not run otherwise."""
        if active_plan(self.client, self.plan.database) != self.plan:
            return "the server does not run this version of the project: run duet deploy"
        names = [step.model for step in self.plan.steps if step.unique_id in self.chosen]
        if self.chosen and not names:
            return "the model is not kept in real time"
        # What is refreshed on a schedule is to be of the rows that batch has seen.
        self.unrefreshed = refresh_below(self.client, self.plan, names or [step.model for step in self.plan.steps])
        root = self.settings.realtime_dir
        environment = self.client.endpoint.environment(self.plan.database)
        return run_dbt_tests(root, root, root / "target", names, environment)

    def _data_tests(self, batch: Mapping[str, Result], realtime: Mapping[str, Result] | str) -> list[Judged]:
        tests = sorted((t for t in self.project.tests if t.unique_id in batch), key=lambda t: t.unique_id)
        if isinstance(realtime, str):
            return [self._data_test(t, batch[t.unique_id].verdict, not_applicable(realtime)) for t in tests]
        generated = self.settings.realtime_dir / "target" / "manifest.json"
        carried = Carried(self.project, self.plan, read_manifest(generated))
        return [self._data_test(t, batch[t.unique_id].verdict, carried.verdict(t, realtime)) for t in tests]

    def _data_test(self, test: Test, batch: Verdict, realtime: Verdict) -> Judged:
        batch = self._explained(batch, test.depends_on)
        differs = disagreement(batch, realtime, _DATA_TEST, counted=True)
        return Judged(
            name=test.name,
            kind="singular" if test.metadata is None else str(test.metadata["name"]),
            model=self._name(test.attached or test.depends_on[0] if test.depends_on else ""),
            batch=batch,
            realtime=realtime,
            views=_DATA_TEST,
            disagreement="; ".join(filter(None, (differs, self._age(test) if differs else ""))),
        )

    def _explained(self, batch: Verdict, reads: Iterable[str]) -> Verdict:
        """``batch`` with what to do, where it is an error because batch has not built what the test ``reads``."""
        absent = [self._name(u) for u in reads if u in self._unbuilt]
        if batch.status is not Status.ERROR or not absent:
            return batch
        reason = f"{', '.join(absent)}: not in the batch database yet: run duet batch"
        return Verdict(Status.ERROR, reason)

    @functools.cached_property
    def _unbuilt(self) -> set[str]:
        """Sources and models that the batch database does not have; empty where it is no DuckDB file."""
        relations = {s.unique_id: s.batch for s in self.plan.steps} | {s.unique_id: s.batch for s in self.plan.sources}
        try:
            path = duckdb_path(self.settings.project_dir)
            if not path.exists():
                return set(relations)
            with open_batch(path, read_only=True) as connection:
                tables = {u: sqlglot.to_table(name, dialect="duckdb") for u, name in relations.items()}
                return {u for u, found in tables.items() if relation_comment(connection, found) is None}
        except DuetError:
            return set()

    def _age(self, test: Test) -> str:
        """Whether the sides have rows of another age; empty where that is not known."""
        steps = [step for step in self.plan.steps if step.unique_id in test.depends_on]
        stale = set(self.unrefreshed) & with_upstream(self.plan, [step.model for step in steps])
        if stale:
            return "; ".join(self.unrefreshed[model] for model in sorted(stale))
        try:
            with open_batch(duckdb_path(self.settings.project_dir), read_only=True) as connection:
                age = Age(self.settings, self.plan, self.client, connection)
                return "; ".join(dict.fromkeys(filter(None, map(age.reason, steps))))
        except DuetError:
            return ""

    def _name(self, unique_id: str) -> str:
        known = self.project.models.get(unique_id) or self.project.sources.get(unique_id)
        return known.name if known is not None else unique_id

    def _unit_test(self, test: UnitTest, batch: Result | None) -> Judged:
        verdict = batch.verdict if batch is not None else not_applicable("dbt did not run it")
        verdict = self._explained(verdict, self.project.models[test.model].depends_on)
        realtime, views = self._in_real_time(test, batch)
        return Judged(
            name=test.name,
            kind="unit",
            model=self._name(test.model),
            batch=verdict,
            realtime=realtime,
            views=views,
            disagreement=disagreement(verdict, realtime, views, counted=False),
        )

    def _in_real_time(self, test: UnitTest, batch: Result | None) -> tuple[Verdict, Verdict]:
        reason = batch_only(test)
        step = next((s for s in self.plan.steps if s.unique_id == test.model), None)
        if step is None:
            reason = "the model is not kept in real time"
        elif step.published is not None:
            reason = "the model is computed in batch only, and copied"
        elif batch is None or not batch.sql:
            reason = reason or "dbt did not compile it, see batch"
        if reason or batch is None:
            return not_applicable(reason), not_applicable(reason)
        try:
            with connect() as connection, temporary_database(self.client, DATABASES) as database:
                return self._trial(test, batch.sql, connection, database).run()
        except (RefusedError, SourceError) as error:
            # As the project has it the model is not refused; over the types of these rows it is, or no event has them.
            return not_applicable(str(error)), not_applicable(str(error))
        except DuetError as error:
            return Verdict(Status.ERROR, str(error)), Verdict(Status.ERROR, str(error))

    def _trial(self, test: UnitTest, sql: str, connection: duckdb.DuckDBPyConnection, database: str) -> Trial:
        types = {PREFIX + s.model: {c.name: c.type for c in s.columns} for s in self.plan.steps}
        originals = {PREFIX + s.name.replace(".", "__"): s for s in self.plan.sources}
        types |= {name: {c.name: c.type for c in s.columns} for name, s in originals.items()}
        adapter = self.project.adapter
        query, tables = load_compiled(connection, sql, adapter, types)
        given = [given_source(connection, name, columns, originals.get(name)) for name, columns in tables.items()]
        variant = plan_variant(self.project, self.project.models[test.model], query, given, database)
        expected = in_duckdb(test.expected, adapter) if isinstance(test.expected, str) else test.expected
        tested = load_expected(connection, expected, variant.compiled.columns)
        return Trial(self.client, connection, variant, tested, database)


def _chosen(project: Project, models: Iterable[str]) -> tuple[str, ...]:
    """Unique ids of the models of these names."""
    by_name: dict[str, list[str]] = {}
    for model in project.models.values():
        by_name.setdefault(model.name, []).append(model.unique_id)
    unknown = [name for name in models if name not in by_name]
    if unknown:
        raise NotFoundError(f"the project has no model {', '.join(unknown)}", remedy="see dbt ls")
    return tuple(unique_id for name in models for unique_id in by_name[name])


def _selector(unique_id: str) -> str:
    """How dbt selects a model: its name, and its version where it has one."""
    return ".".join(unique_id.split(".")[2:])
