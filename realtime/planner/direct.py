"""Lambdas' queries over states in place of read views, with as few levels as they can have: to plan a look-up through a
view takes ClickHouse a quarter to a third longer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import msgspec
from sqlglot import exp

from realtime.emit.jinja import rendered
from realtime.emit.readable import parsed_exactly, readable
from realtime.planner.drop_casts import Casts
from realtime.planner.ir import Direct, LambdaSpec, Plan, Read, Shape, Step
from realtime.planner.merge_selects import merge_selects
from realtime.planner.own_rows import own_rows
from realtime.planner.push_conditions import push_conditions
from realtime.transpile.form import quote


def directly(plan: Plan) -> Plan:
    """``plan``, whose lambdas read states as directly as it is known how."""
    views = _Views(plan)
    return msgspec.structs.replace(plan, lambdas=tuple(_lambda(spec, views) for spec in plan.lambdas))


def _lambda(spec: LambdaSpec, views: _Views) -> LambdaSpec:
    one = views.direct(spec.select) if spec.together is None else None
    if one is None:
        return spec
    many = views.direct(spec.keyed.select) if spec.keyed is not None else None
    keyed = spec.keyed.select if spec.keyed is not None else ""
    after = views.direct(spec.paging.after) if spec.paging is not None else None
    later = after.select if after is not None else spec.paging.after if spec.paging is not None else ""
    direct = Direct(one.select, many.select if many is not None else keyed, tuple(one.reads.values()), later)
    return msgspec.structs.replace(spec, direct=direct)


@dataclasses.dataclass(frozen=True)
class _Query:
    """``select`` and the models that it reads from their states."""

    select: str
    reads: Mapping[str, Read]


class _Views:
    """The read views of ``plan`` that can be written into what reads them: those over one state of their own, and on a
    cluster streams."""

    def __init__(self, plan: Plan) -> None:
        self._database = plan.database
        self._casts = Casts(plan)
        sharded = any(source.shards is not msgspec.UNSET for source in plan.sources)
        # What is asked of a stream goes to the shards only where it is written beside their table.
        self._steps = {
            step.relation: step
            for step in plan.steps
            if _is_kept(step) or (sharded and step.shape is Shape.STREAM and "ref('" not in step.select)
        }
        self._trees: dict[str, exp.Select | None] = {}

    def direct(self, text: str) -> _Query | None:
        """``text`` over states; None where it reads none of these views."""
        if not any(relation in text for relation in self._steps):
            return None
        tree, reads = parsed_exactly(text), dict[str, Read]()
        for table in list(tree.find_all(exp.Table)) if tree is not None else ():
            step = self._steps.get(f"{table.db}.{table.name}")
            view = self._tree(step) if step is not None else None
            if step is not None and view is not None:
                state = step.states[0].relation if step.states else ""
                reads[step.model] = Read(step.model, state, own_rows(step))
                alias = exp.TableAlias(this=quote(table.alias_or_name))
                table.replace(exp.Subquery(this=view.copy(), alias=alias))
        if tree is None or not reads:
            return None
        return _Query(readable(push_conditions(self._casts.drop(merge_selects(tree))), copy=False), reads)

    def _tree(self, step: Step) -> exp.Select | None:
        """What the read view of ``step`` selects."""
        if step.relation not in self._trees:
            text = rendered(step.select, _no_model, self._source)
            tree = parsed_exactly(text)
            if tree is not None and step.shape is Shape.STREAM:
                tree = merge_selects(tree)
            found = tree if isinstance(tree, exp.Select) and tree.args.get("with_") is None else None
            if found is not None:
                found.set("settings", None)  # those of every query
            self._trees[step.relation] = found
        return self._trees[step.relation]

    def _source(self, source: str, table: str) -> str:
        return f"{self._database}_{'raw' if source == 'landing' else source}.{table}"


def _is_kept(step: Step) -> bool:
    """Whether ``step`` shows what one state keeps, and nothing else."""
    kept = step.shape in (Shape.AGGREGATE, Shape.LATEST) and len(step.states) == 1
    return kept and "ref('" not in step.select and "source('landing'" not in step.select


def _no_model(model: str) -> str:
    raise AssertionError(model)
