"""From the authored project to the plan: which models ClickHouse keeps, and how.

Every refusal is collected, so that one run names them all; nothing is planned if there is one. What reads a refused
model is compiled too, over the columns that DuckDB says the model has, for what is refused in it by itself.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec
from sqlglot import exp

from realtime.cache import Cache, Digests, Kept, Memory
from realtime.dialects.adapters import check_adapter
from realtime.dialects.translate import source_in_duckdb, to_duckdb
from realtime.emit.tests import carried_tests, custom_tests
from realtime.errors import DuetError, RefusedError, SourceError
from realtime.planner.colocate import colocated
from realtime.planner.data_tests import plan_test
from realtime.planner.design import designed
from realtime.planner.dimensions import identities, tested_keys
from realtime.planner.direct import directly
from realtime.planner.ir import DataTest, LambdaSpec, Plan, Shape, SourceSpec, Step
from realtime.planner.lambdas import plan_lambda, split_lambda
from realtime.planner.passes.inline_streams import inline_streams
from realtime.planner.published import batch_columns, is_published, plan_published
from realtime.planner.refresh import keep_refreshed
from realtime.planner.refused import Refused
from realtime.planner.relations import Relations, key_of, reads_only
from realtime.planner.shapes import Planned, check_options, plan_model
from realtime.planner.sources import plan_source
from realtime.planner.split_lambda import SplitLambda
from realtime.planner.streams import stream_tables
from realtime.planner.windows import windowed
from realtime.project.binder import Binder
from realtime.project.manifest import Model, Project, Query, Source, Test
from realtime.transpile.trace import Stage, Trace


class _Lambda(msgspec.Struct, frozen=True):
    """A lambda as it is planned by itself, and what states could hold of it."""

    spec: LambdaSpec
    split: SplitLambda


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The plan, or what stands against it. ``refusals`` are empty where ``plan`` may be carried out. ``unmarked`` are
    files that look like lambdas and are none (`realtime.project.manifest.Project`)."""

    plan: Plan
    refusals: tuple[DuetError, ...]
    unmarked: tuple[str, ...] = ()


def plan_project(project: Project, database: str, cache: Cache | None = None) -> Outcome:
    """Plans every model that opted in, the sources below them and the lambdas above them; ``cache`` gives the steps of
    what did not change since it was kept there, and takes the others.

    ConfigError where it is written for a warehouse whose dialect Duet does not read.
    """
    check_adapter(project.adapter)
    planner = open_planner(project, database, cache)
    for model in project.realtime_models():
        planner.add(model)
    lambdas = [planner.query(q) for q in project.queries]
    plan = Plan(
        project=project.name,
        database=database,
        sources=tuple(planner.specs.values()),
        steps=tuple(planner.steps.values()),
        lambdas=tuple(found for found in lambdas if found is not None),
        tests=tuple(planner.test(t) for t in custom_tests(project, [*planner.specs, *planner.steps])),
        carried=carried_tests(project, [*planner.specs, *planner.steps]),
    )
    hints = {model.unique_id: model.options or {} for model in project.realtime_models()}
    hints |= {source.unique_id: source.options for source in project.sources.values()}
    plan = designed(windowed(plan, planner.splits), hints)
    return Outcome(directly(colocated(plan)), tuple(planner.refused.refusals), project.unmarked)


def trace_model(project: Project, database: str, name: str) -> tuple[Stage, ...]:
    """What each pass made of the model ``name``, which can be planned; a later stage may be of a part of it."""
    models = project.realtime_models()
    wanted = next(m for m in models if m.name == name)
    planner = open_planner(project, database)
    above = _above(project, wanted)
    trace = Trace()
    for model in models:
        if model is wanted:
            planner.add(model, trace)
        elif model.unique_id in above:
            planner.add(model)
    return tuple(trace.stages)


def _above(project: Project, model: Model) -> set[str]:
    """Unique ids of everything that ``model`` is made of."""
    seen: set[str] = set()
    waiting = list(model.depends_on)
    while waiting:
        unique_id = waiting.pop()
        if unique_id not in seen:
            seen.add(unique_id)
            waiting += project.models[unique_id].depends_on if unique_id in project.models else ()
    return seen


def open_planner(project: Project, database: str, cache: Cache | None = None) -> Planner:
    """A planner that knows the sources of ``project``, and finds in ``cache`` what it planned before."""
    binder = Binder()
    refused = Refused(project, binder)
    specs = _sources(project, project.realtime_models(), binder, database, refused)
    unique = tested_keys(project)
    relations = Relations(
        sources={key_of(project.sources[u].relation): s for u, s in specs.items()},
        models={key_of(m.relation): m for m in project.models.values()},
        unique=unique,
        cluster=project.cluster,
        identities=identities(project, unique),
    )
    memory = Memory(cache, Digests(project, specs, database, unique, relations.identities))
    return Planner(project, binder, relations, specs, database, refused, memory)


def _sources(
    project: Project, models: Iterable[Model], binder: Binder, database: str, refused: Refused
) -> dict[str, SourceSpec]:
    """Sources that opted in, and those that a real-time model reads; not what only batch reads."""
    specs: dict[str, SourceSpec] = {}
    for source in _used_sources(project, models):
        try:
            spec = plan_source(source_in_duckdb(source, project.adapter), binder, database, project.cluster)
            if spec.landing in {s.landing for s in specs.values()}:
                raise SourceError(
                    f"source {source.name}: another source has the table {spec.landing}", remedy="rename one"
                )
            specs[source.unique_id] = spec
        except DuetError as error:
            refused.add_source(source, error, typed=key_of(source.relation) in binder.columns)
    return specs


def _used_sources(project: Project, models: Iterable[Model]) -> list[Source]:
    seen: set[str] = {u for u, s in project.sources.items() if s.opted_in}
    waiting = [m.unique_id for m in models]
    while waiting:
        unique_id = waiting.pop()
        if unique_id not in seen:
            seen.add(unique_id)
            model = project.models.get(unique_id)
            waiting += model.depends_on if model is not None and not is_published(model) else ()
    return [project.sources[u] for u in sorted(seen) if u in project.sources]


class Planner:
    """Models planned so far; upstream ones first."""

    def __init__(
        self,
        project: Project,
        binder: Binder,
        relations: Relations,
        specs: Mapping[str, SourceSpec],
        database: str,
        refused: Refused,
        memory: Memory,
    ) -> None:
        self.project, self.binder, self.relations, self.database = project, binder, relations, database
        self.specs, self.refused = specs, refused
        self.steps: dict[str, Step] = {}
        self.streams: dict[str, exp.Query] = {}
        """Models that handle each row by itself, in DuckDB's dialect, to be inlined where they are read."""
        self.splits: dict[str, SplitLambda] = {}
        """What states could hold of each planned lambda."""
        self._memory = memory
        self._unknown: dict[str, bool] = {}
        """Recalled models that nothing had to be compiled over yet, each with whether it is inlined."""

    def add(self, model: Model, trace: Trace | None = None) -> None:
        """Plans ``model``, or notes why not; ``trace`` takes what each pass makes of it."""
        if is_published(model):
            self._publish(model, trace)
            return
        reads = list(self._nodes(model.depends_on))
        for check in (self._check_name, check_options, self._check_shards):
            with self.refused.noting(model):
                check(model)
        self._check_upstream(model)
        blocked = self.refused.is_refused(model) or bool(self.refused.waits_for(reads))
        if not blocked and trace is None and self.recalled(model):
            return
        # What its options ask for may not hold only because of what it reads.
        tried = dataclasses.replace(model, options={}) if blocked else model
        if self.refused.typed(reads):
            with self.refused.noting(model):
                tree, planned, keeping = self._planned(tried, trace)
                if not blocked:
                    self._keep(model, tree, planned)
                    if keeping:
                        self._memory.keep(model, Kept(planned.step, planned.inline))
                    return
        self.refused.add(model, reads)
        self._declare(model)

    def _planned(self, model: Model, trace: Trace | None) -> tuple[exp.Query, Planned, bool]:
        """The model in DuckDB's dialect with streams inlined, its plan, and whether the cache may take it."""
        self._check_kind(model)
        self.know(model.depends_on)
        authored = to_duckdb(model.sql, self.project.adapter, self.binder)
        keeping = self._reads_only(model, authored)
        if trace is not None:
            trace.authored("parse" if self.project.adapter == "duckdb" else "to_duckdb", authored)
        tree = inline_streams(authored, self._stream)
        if trace is not None:
            trace.authored("inline_streams", tree)
        reads = self._names(model.depends_on)
        text = model.sql if self.project.adapter == "duckdb" else ""
        planned = plan_model(model, tree, text, reads, self.binder, self.relations, self.database, trace)
        if planned.step.shape is Shape.REFRESH:
            options, below = model.options or {}, self.steps.values()
            step = keep_refreshed(planned.step, options, below, self.relations, self.database)
            planned = dataclasses.replace(planned, step=step)
        return tree, planned, keeping

    def _declare(self, model: Model) -> None:
        """Tells DuckDB the columns of ``model``, which is not kept, and before of those that it reads."""
        for found in self._nodes(model.depends_on):
            if isinstance(found, Model) and found.unique_id not in self.steps:
                self._declare(found)
        self.know(model.depends_on)
        self.refused.declare(model)

    def _publish(self, model: Model, trace: Trace | None) -> None:
        """Plans ``model``, whose SQL only batch has to understand."""
        for check in (self._check_name, check_options, self._check_shards):
            with self.refused.noting(model):
                check(model)
        if not self.refused.is_refused(model) and trace is None and self.recalled(model):
            return
        with self.refused.noting(model):
            self.know(model.depends_on)
            columns = batch_columns(model, self.project, self.binder)
            reads = self._names(model.depends_on)
            step = plan_published(model, columns, reads, self.relations, self.database, self.project.adapter)
            if not self.refused.is_refused(model):
                self._keep_published(model, step)
                self._memory.keep(model, Kept(step, inline=False))
                return
        self.refused.add(model, ())
        self._declare(model)

    def _keep_published(self, model: Model, step: Step) -> None:
        self.steps[model.unique_id] = step
        self.binder.add_table(model.relation, [(c.name, c.type) for c in step.columns])

    def know(self, unique_ids: Iterable[str]) -> None:
        """Gives DuckDB and the streams those recalled models that ``unique_ids`` are made of."""
        made_of, waiting = set[str](), list(unique_ids) if self._unknown else []
        while waiting:
            unique_id = waiting.pop()
            if unique_id not in made_of and unique_id in self.project.models:
                made_of.add(unique_id)
                waiting += self.project.models[unique_id].depends_on
        for unique_id in [u for u in self._unknown if u in made_of]:
            model, inline = self.project.models[unique_id], self._unknown.pop(unique_id)
            if is_published(model):
                self._keep_published(model, self.steps[unique_id])
                continue
            tree = None
            if inline or self.project.adapter != "duckdb":
                tree = inline_streams(to_duckdb(model.sql, self.project.adapter, self.binder), self._stream)
            self._keep(model, tree, Planned(self.steps[unique_id], inline))

    def recalled(self, model: Model) -> bool:
        """Whether ``model`` was compiled before, as it is; then it is planned."""
        kept = self._memory.find(model, Kept)
        if kept is not None:
            self.steps[model.unique_id] = kept.step
            self._unknown[model.unique_id] = kept.inline
        return kept is not None

    def _reads_only(self, of: Model | Query | Test, tree: exp.Query) -> bool:
        """Whether ``tree`` reads nothing but what dbt says it depends on: only that is part of its digest."""
        return reads_only(tree, [node.relation for node in self._nodes(of.depends_on)])

    def _keep(self, model: Model, tree: exp.Query | None, planned: Planned) -> None:
        """Notes a planned model; ``tree`` may be None where it is not inlined and written for DuckDB."""
        self.steps[model.unique_id] = planned.step
        if planned.inline and tree is not None:
            self.streams[model.unique_id] = tree
        sql = model.sql if tree is None or self.project.adapter == "duckdb" else tree.sql("duckdb")
        self.binder.add_view(model.relation, sql, [(c.name, c.type) for c in planned.step.columns])

    def _stream(self, reference: exp.Table) -> tuple[str, exp.Query] | None:
        """Name and query of the model to inline for ``reference``."""
        model = self.relations.model(reference)
        if model is None or model.unique_id not in self.streams:
            return None
        return model.name, self.streams[model.unique_id]

    def _mapped(self, reference: exp.Table) -> tuple[str, exp.Query] | None:
        """Name and query of a model that maps and filters the rows of a source, whichever those are."""
        model, found = self.relations.model(reference), self._stream(reference)
        if found is not None or model is None or self.steps[model.unique_id].shape is not Shape.READ:
            return found
        tree = inline_streams(to_duckdb(model.sql, self.project.adapter, self.binder), self._mapped)
        of_rows = stream_tables(tree, lambda table: self.relations.source(table) is not None)
        return (model.name, tree) if of_rows is not None else None

    def entries(self, models: Iterable[Model]) -> Mapping[str, bytes]:
        """What the cache took of ``models``."""
        return self._memory.entries(models)

    def learn(self, models: Iterable[Model], entries: Mapping[str, bytes]) -> None:
        """Takes ``models`` as another process planned them; not those of which there is no entry."""
        self._memory.learn(entries)
        for model in models:
            self.recalled(model)

    def _names(self, unique_ids: Iterable[str]) -> tuple[str, ...]:
        """What is read, as authored: models by name, sources as ``chat.messages``; not ephemeral models."""
        return tuple(sorted({n.name for n in self._nodes(unique_ids)}))

    def _nodes(self, unique_ids: Iterable[str]) -> Iterator[Model | Source]:
        for unique_id in unique_ids:
            model = self.project.models.get(unique_id)
            if model is not None and model.ephemeral:
                yield from self._nodes(model.depends_on)
            elif model is not None:
                yield model
            elif unique_id in self.project.sources:
                yield self.project.sources[unique_id]

    def _check_kind(self, model: Model) -> None:
        if model.kind != "model":
            raise RefusedError(
                f"a {model.kind} has no SQL to keep in real time",
                construct=model.name,
                remedy="let batch make it and copy it, `meta: {realtime: {mode: published}}`; or set `realtime: false`",
            )

    def _check_name(self, model: Model) -> None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", model.name):
            raise RefusedError(
                "its name can't be that of a state table",
                construct=model.name,
                remedy="use letters, digits and underscores",
            )
        for step in self.steps.values():
            if step.model == model.name:
                raise RefusedError(
                    f"{step.unique_id} has the same name", construct=model.name, remedy="rename one of both models"
                )

    def _check_shards(self, model: Model) -> None:
        mode = (model.options or {}).get("mode")
        if self.project.cluster and mode in (Shape.REFRESH, Shape.PUBLISHED):
            raise RefusedError(
                f"a model that is {'refreshed' if mode == Shape.REFRESH else mode} is not kept on a cluster yet",
                construct=f"meta.realtime.mode: {mode}",
                remedy="drop `mode`, so that it is computed when read; or use a server that stands alone",
            )

    def _check_upstream(self, reader: Model | Query) -> None:
        """Notes every model that ``reader`` reads and that is not kept for another reason than a refusal."""
        for found in self._nodes(reader.depends_on):
            if isinstance(found, Model) and found.unique_id not in self.steps and not self.refused.waits_for([found]):
                self._declare(found)
                with self.refused.noting(reader):
                    raise _not_kept(found, reader)

    def query(self, query: Query) -> LambdaSpec | None:
        """Plans a lambda, or notes why not."""
        reads = list(self._nodes(query.depends_on))
        self._check_upstream(query)
        blocked = self.refused.is_refused(query) or bool(self.refused.waits_for(reads))
        kept = self._memory.find(query, _Lambda) if not blocked else None
        if kept is None and self.refused.typed(reads):
            with self.refused.noting(query):
                self.know(query.depends_on)
                kept = self._lambda(query)
                if not blocked:
                    self._remember(query, kept)
        if kept is not None and not blocked and not self.refused.is_refused(query):
            self.splits[query.name] = kept.split
            return kept.spec
        self.refused.add(query, reads)
        return None

    def _lambda(self, query: Query) -> _Lambda:
        def inlined(tree: exp.Query) -> exp.Query:
            return inline_streams(tree, self._stream)

        names, adapter = self._names(query.depends_on), self.project.adapter
        mapped = lambda tree: inline_streams(tree, self._mapped)  # noqa: E731 -- as short as the one above
        spec = plan_lambda(query, names, adapter, mapped, self.binder, self.relations, self.database, self.steps)
        return _Lambda(
            spec, split_lambda(query, spec, adapter, inlined, self.binder, self.relations, self.database, self.steps)
        )

    def test(self, test: Test) -> DataTest:
        """Plans a custom test of the author over what is kept."""
        kept = self._memory.find(test, DataTest)
        if kept is None:
            self.know(test.depends_on)
            kept = plan_test(test, self.project, self.binder, self.relations)
            if not kept.reason:
                self._remember(test, kept)
        return kept

    def _remember(self, of: Query | Test, planned: _Lambda | DataTest) -> None:
        if self._reads_only(of, to_duckdb(of.sql, self.project.adapter, self.binder)):
            self._memory.keep(of, planned)


def _not_kept(model: Model, reader: Model | Query) -> RefusedError:
    """Why ``reader`` can't read ``model``, which did not opt in, and what to do."""
    reads = f"ref('{model.name}')"
    if model.kind != "model":
        return RefusedError(
            f"reads the {model.kind} {model.name}, which ClickHouse does not have",
            construct=reads,
            remedy=f"copy it from batch, `meta: {{realtime: {{mode: published}}}}` on {model.name}; or declare a "
            "source for its rows and send them as events",
        )
    return RefusedError(
        f"reads {model.name}, which is not kept in real time",
        construct=reads,
        remedy=f"add `meta: {{realtime: true}}` to the config of {model.name}, or drop it from {reader.name}",
    )
