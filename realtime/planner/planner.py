"""From the authored project to the plan: which models ClickHouse keeps, and how.

Every refusal is collected, so that one run names them all; nothing is planned if there is one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import sqlglot
from sqlglot import exp

from realtime.errors import DuetError, RefusedError
from realtime.planner.data_tests import plan_tests
from realtime.planner.ir import LambdaSpec, Plan, SourceSpec, Step
from realtime.planner.lambdas import plan_lambda
from realtime.planner.passes.inline_streams import inline_streams
from realtime.planner.relations import Relations, key_of
from realtime.planner.shapes import Planned, plan_model
from realtime.planner.sources import plan_source
from realtime.project.binder import Binder
from realtime.project.manifest import Model, Project, Query, Source


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The plan, or what stands against it. ``refusals`` are empty where ``plan`` may be carried out."""

    plan: Plan
    refusals: tuple[DuetError, ...]


def plan_project(project: Project, database: str) -> Outcome:
    """Plans every model that opted in, the sources below them and the lambdas above them."""
    binder = Binder()
    refusals: list[DuetError] = []
    models = project.realtime_models()
    specs = _sources(project, models, binder, database, refusals)
    relations = Relations(
        sources={key_of(project.sources[u].relation): s for u, s in specs.items()},
        models={key_of(m.relation): m for m in project.models.values()},
    )
    planner = _Planner(project, binder, relations, database, refusals)
    for model in models:
        planner.add(model)
    lambdas = [planner.query(q) for q in project.queries]
    plan = Plan(
        project=project.name,
        database=database,
        sources=tuple(specs.values()),
        steps=tuple(planner.steps.values()),
        lambdas=tuple(found for found in lambdas if found is not None),
        tests=plan_tests(project, [*specs, *planner.steps], binder, relations),
    )
    return Outcome(plan, tuple(refusals))


def _sources(
    project: Project, models: Iterable[Model], binder: Binder, database: str, refusals: list[DuetError]
) -> dict[str, SourceSpec]:
    """Sources that a real-time model reads, directly or through models that did not opt in."""
    specs = {}
    for source in _read_sources(project, models):
        try:
            specs[source.unique_id] = plan_source(source, binder, database)
        except DuetError as error:
            refusals.append(error)
    return specs


def _read_sources(project: Project, models: Iterable[Model]) -> list[Source]:
    seen: set[str] = set()
    waiting = [u for m in models for u in m.depends_on]
    while waiting:
        unique_id = waiting.pop()
        if unique_id not in seen:
            seen.add(unique_id)
            waiting += project.models[unique_id].depends_on if unique_id in project.models else ()
    return [project.sources[u] for u in sorted(seen) if u in project.sources]


class _Planner:
    """Models planned so far; upstream ones first."""

    def __init__(
        self, project: Project, binder: Binder, relations: Relations, database: str, refusals: list[DuetError]
    ) -> None:
        self.project, self.binder, self.relations, self.database = project, binder, relations, database
        self.refusals = refusals
        self.steps: dict[str, Step] = {}
        self.streams: dict[str, exp.Query] = {}
        """Models that handle each row by itself, in DuckDB's dialect, to be inlined where they are read."""

    def add(self, model: Model) -> None:
        """Plans ``model``, or notes why not."""
        try:
            self._check_upstream(model)
            tree = inline_streams(_parsed(model.sql, model.path), self._stream)
            planned = plan_model(model, tree, self.binder, self.relations, self.database)
        except RefusedError as error:
            error.model = error.model or model.path
            self.refusals.append(error)
            return
        self._keep(model, tree, planned)

    def _keep(self, model: Model, tree: exp.Query, planned: Planned) -> None:
        self.steps[model.unique_id] = planned.step
        if planned.inline:
            self.streams[model.unique_id] = tree
        self.binder.add_view(model.relation, tree.sql("duckdb"))

    def _stream(self, reference: exp.Table) -> tuple[str, exp.Query] | None:
        """Name and query of the model to inline for ``reference``."""
        model = self.relations.model(reference)
        if model is None or model.unique_id not in self.streams:
            return None
        return model.name, self.streams[model.unique_id]

    def _check_upstream(self, model: Model) -> None:
        for unique_id in model.depends_on:
            upstream = self.project.models.get(unique_id)
            if upstream is not None and unique_id not in self.steps:
                if upstream.options is None:
                    raise RefusedError(
                        f"reads {upstream.name}, which is not kept in real time",
                        construct=f"ref('{upstream.name}')",
                        remedy=f"add `meta: {{realtime: true}}` to {upstream.name}, or drop it from {model.name}",
                    )
                raise RefusedError(
                    f"reads {upstream.name}, which is refused", remedy=f"mend {upstream.name} first ({upstream.path})"
                )
            source = self.project.sources.get(unique_id)
            if source is not None and self.relations.source(source.relation) is None:
                raise RefusedError(f"reads source {source.name}, which has errors", remedy=f"mend {source.path} first")

    def query(self, query: Query) -> LambdaSpec | None:
        """Plans a lambda, or notes why not."""
        try:
            for unique_id in query.depends_on:
                if unique_id in self.project.models and unique_id not in self.steps:
                    name = self.project.models[unique_id].name
                    raise RefusedError(f"reads {name}, which is not kept in real time", remedy=f"see {name}")
            return plan_lambda(query, _parsed(query.sql, query.path), self.binder, self.relations, self.database)
        except RefusedError as error:
            error.model = error.model or query.path
            self.refusals.append(error)
            return None


def _parsed(sql: str, path: str) -> exp.Query:
    try:
        tree = sqlglot.parse_one(sql, read="duckdb")
    except sqlglot.ParseError as error:
        first = error.errors[0] if error.errors else {}
        raise RefusedError(
            f"this SQL can't be parsed: {first.get('description', error)}",
            model=path,
            line=first.get("line") or 0,
            column=first.get("col") or 0,
            remedy="check the statement; `dbt compile` shows it with Jinja resolved",
        ) from None
    if not isinstance(tree, exp.Query):
        raise RefusedError(f"a model is one SELECT; this is {tree.key}", model=path)
    return tree
