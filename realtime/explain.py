"""Everything about how one model is kept: what `duet explain` shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from realtime.emit.ddl import create_published, refresh_ddl, state_ddl
from realtime.emit.landing import landing_ddl
from realtime.errors import NotFoundError
from realtime.planner.ir import Plan, SourceSpec, Step
from realtime.planner.planner import trace_model
from realtime.project.manifest import Model, Project
from realtime.transpile.trace import Stage


@dataclasses.dataclass(frozen=True)
class Explained:
    """A model, its step, what each pass made of its SQL, and the sources whose landing tables it reads."""

    model: Model
    step: Step
    stages: tuple[Stage, ...]
    sources: tuple[SourceSpec, ...]

    def __str__(self) -> str:
        return "\n\n".join(self._parts())

    def _parts(self) -> Iterator[str]:
        yield str(self.step)
        if self.step.remedy:
            yield f"-- to keep it on insert: {self.step.remedy}"
        yield f"-- reads: {', '.join(self.step.depends_on) or 'nothing'}"
        yield f"-- authored: {self.model.path}\n{(self.model.raw or self.model.sql).strip()}"
        for stage in self.stages:
            yield f"-- after {stage.name}\n{stage.sql}"
        for source in self.sources:
            yield f"-- landing table of {source.name}\n{_statements(landing_ddl(source))}"
        for state in self.step.states:
            why = f": ordered {state.why}" if state.why else ": ordered by its keys; no lambda looks it up"
            yield f"-- state {state.relation}{why}\n{_statements(state_ddl(state))}"
        if self.step.refresh is not None:
            refresh = self.step.refresh
            yield f"-- refreshed every {refresh.every.lower()}: {refresh.relation}\n{_statements(refresh_ddl(refresh))}"
        if self.step.published is not None:
            copied = self.step.published
            yield f"-- copied from batch, {self.step.batch}, to {copied.relation}: duet batch, duet publish"
            yield _statements([create_published(copied, self.step.columns)])
        yield f"-- read view {self.step.relation}\n{self.step.select}"


def explain(project: Project, plan: Plan, model: str) -> Explained:
    """Everything about the model called ``model``; ``project`` is what ``plan`` was made from.

    NotFoundError where no such model is kept in real time.
    """
    step = next((s for s in plan.steps if s.model == model), None)
    if step is None:
        names = ", ".join(s.model for s in plan.steps)
        raise NotFoundError(f"no model {model!r} is kept in real time", remedy=f"these are: {names}")
    filled = {view.landing for state in step.states for view in state.views}
    sources = tuple(s for s in plan.sources if s.landing in filled or s.name in step.depends_on)
    return Explained(project.models[step.unique_id], step, trace_model(project, plan.database, model), sources)


def _statements(ddl: list[str]) -> str:
    return ";\n\n".join(ddl) + ";"
