"""Everything about how one model is kept, or one lambda answered: what `duet explain` shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from realtime.emit.ddl import create_published, refresh_ddl, state_ddl
from realtime.emit.landing import landing_ddl
from realtime.errors import NotFoundError
from realtime.planner.call_options import in_words
from realtime.planner.ir import AS_OF, LambdaSpec, Param, Plan, SourceSpec, Step
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
            why = f": ordered {source.order_why}" if source.order_why else ""
            yield f"-- landing table of {source.name}{why}\n{_statements(landing_ddl(source))}"
        for state in self.step.states:
            why = f": ordered {state.why}" if state.why else ": ordered by its keys; no lambda looks it up"
            why += f"; kept together: {', '.join(state.models)}" if state.models else ""
            yield f"-- state {state.relation}{why}\n{_statements(state_ddl(state))}"
        if self.step.refresh is not None:
            refresh = self.step.refresh
            yield f"-- refreshed every {refresh.every.lower()}: {refresh.relation}\n{_statements(refresh_ddl(refresh))}"
        if self.step.published is not None:
            copied = self.step.published
            yield f"-- copied from batch, {self.step.batch}, to {copied.relation}: duet batch, duet publish"
            yield _statements([create_published(copied, self.step.columns)])
        yield f"-- read view {self.step.relation}\n{self.step.select}"


@dataclasses.dataclass(frozen=True)
class ExplainedLambda:
    """A lambda, and how each model or source that it reads is kept, as authored."""

    spec: LambdaSpec
    reads: tuple[str, ...]

    def __str__(self) -> str:
        return "\n\n".join(self._parts())

    def _parts(self) -> Iterator[str]:
        spec = self.spec
        yield f"{spec.name}: lambda, version {spec.version}"
        yield "\n".join(["-- parameters" if spec.params else "-- no parameters", *map(_parameter, spec.params)])
        yield "\n".join(["-- reads", *self.reads]) if self.reads else "-- reads: nothing"
        if said := in_words(spec):
            yield f"-- calls: {said}"
        together = spec.together
        if together is not None:
            models = ", ".join(member.model for member in together.members)
            yield f"-- together: one key of {together.state} holds what {models} have of it"
        elif len(spec.depends_on) > 1:
            yield f"-- what it reads is read one by one: {spec.apart}"
        asked, direct = together or spec, spec.direct
        if direct is not None:
            read = ", ".join(each.state or f"the rows of {each.model}" for each in direct.reads)
            yield f"-- direct: {read} in place of read views"
        yield f"-- one call\n{(direct or asked).select}"
        if asked.keyed is not None:
            many = direct.keyed if direct is not None else asked.keyed.select
            yield f"-- many calls that differ in {asked.keyed.param}, in one query\n{many}"
        else:
            yield f"-- calls are asked one by one: {asked.alone}"
        if spec.paging is not None:
            yield f"-- a page after the first\n{(direct.after if direct is not None else '') or spec.paging.after}"
        if spec.nearest is not None:
            yield f"-- asked first, approximate: {spec.nearest.why} finds the rows\n{spec.nearest.select}"
        if spec.window is not None:
            yield f"-- answered by {spec.window.why}; one call\n{spec.window.select}"
            if spec.window.keyed:
                yield f"-- many calls so\n{spec.window.keyed}"
            if spec.window.after:
                yield f"-- a page after the first so\n{spec.window.after}"
        elif spec.events:
            yield f"-- reads every row that it aggregates, not a state: {spec.events}"


def explain(project: Project, plan: Plan, name: str) -> Explained | ExplainedLambda:
    """Everything about the model called ``name``, else about the lambda; ``project`` is what ``plan`` was made from.

    NotFoundError where neither is there.
    """
    step = next((s for s in plan.steps if s.model == name), None)
    spec = next((s for s in plan.lambdas if s.name == name), None)
    if step is not None:
        return _model(project, plan, step)
    if spec is None:
        names = (
            f"{', '.join(s.model for s in plan.steps)}; lambdas: {', '.join(s.name for s in plan.lambdas) or 'none'}"
        )
        raise NotFoundError(f"no model or lambda {name!r} is kept in real time", remedy=f"models: {names}")
    steps = {s.model: str(s) for s in plan.steps}
    return ExplainedLambda(spec, tuple(steps.get(n, f"{n}: source") for n in spec.depends_on))


def _model(project: Project, plan: Plan, step: Step) -> Explained:
    filled = {view.landing for state in step.states for view in state.views}
    sources = tuple(s for s in plan.sources if s.landing in filled or s.name in step.depends_on)
    return Explained(project.models[step.unique_id], step, trace_model(project, plan.database, step.model), sources)


def _parameter(param: Param) -> str:
    """``stream_id varchar: The stream.``, with what else is said of it."""
    said = [param.type.lower()]
    if param.name == AS_OF:
        said.append("the server's time unless given")
    elif param.default is not None:
        said.append(f"default {param.default}")
    elif not param.required:
        said.append("may be left out")
    bounds = (("at least", param.minimum), ("at most", param.maximum))
    said += [f"{words} {bound}" for words, bound in bounds if bound is not None]
    said += [f"one of {', '.join(map(str, param.enum))}"] if param.enum else []
    said += [f"format {param.format}"] if param.format else []
    return f"{param.name} {', '.join(said)}" + (f": {param.description}" if param.description else "")


def _statements(ddl: list[str]) -> str:
    return ";\n\n".join(ddl) + ";"
