"""A model's state taken apart, so that it can be kept in one table with others': what its views give and what its read
view makes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from sqlglot import exp

from realtime.emit.jinja import rendered
from realtime.emit.readable import parsed
from realtime.errors import DuetError
from realtime.planner.ir import Plan, SourceSpec, Step
from realtime.planner.passes.split_aggregate import UPDATED_AT
from realtime.planner.relations import stored_in
from realtime.planner.selects import conditions_of, moved, query_of, relations_of

Columns = dict[str, exp.Expr]
_NOT_NULL = " NOT NULL"
_SKIPPING = frozenset({"sumState", "minState", "maxState"})


class NotShareableError(DuetError):
    """Why a model's state can't be one with others'."""


@dataclasses.dataclass(frozen=True)
class MemberState:
    """The one state of ``step``: its ``keys``, each with what decides its type; those of them that are ``never_null``;
    the names of its other ``columns``; and the trees of its ``views``. ``shown`` are the model's columns as expressions
    over the state, for a group of which ``present`` hold; ``raised`` are conditions that fail where the model can't be
    read. ``counted`` are the columns that count all rows, ``null_of_none`` those that merge to NULL over no row."""

    step: Step
    keys: Mapping[str, str]
    never_null: frozenset[str]
    columns: tuple[str, ...]
    views: tuple[exp.Select, ...]
    shown: Mapping[str, exp.Expr]
    present: tuple[exp.Expr, ...]
    raised: tuple[exp.Expr, ...]
    counted: frozenset[str]
    null_of_none: frozenset[str]


def member_state(step: Step, plan: Plan) -> MemberState:
    """What ``step`` of ``plan``, which has one state, keeps and shows.

    NotShareableError where it has a TTL or partitions of its own, or its queries are of another form.
    """
    (state,) = step.states
    if state.ttl or state.partition_by:
        raise NotShareableError(f"the state of {step.model} has a ttl or partitions of its own")
    landings = {source.landing: source for source in plan.sources}
    views = tuple(_select(view.select, step) for view in state.views)
    names = [name for name in views[0].named_selects if name not in (*state.order_by, UPDATED_AT)]
    keys = {key: _type_of(_projection(views[0], key), views[0], landings, step) for key in state.order_by}
    for view in views[1:]:
        found = {key: _type_of(_projection(view, key), view, landings, step) for key in state.order_by}
        if found != keys:
            raise NotShareableError(f"the sides of UNION ALL in {step.model} have keys of different types")
    databases = {"state": f"{plan.database}_state", "landing": f"{plan.database}_raw"}
    read = rendered(step.select, lambda model: model, lambda source, table: f"{databases[source]}.{table}")
    shown, present, raised = _read(_select(read, step), step)
    if any(n.name == "arrayJoin" for e in (*shown.values(), *present) for n in e.find_all(exp.Anonymous)):
        raise NotShareableError(f"{step.model} gives several rows for a group")
    # Within an expression the words stay: only a column as it is may be NULL for one and not for another.
    bare = {key: kind.removesuffix(_NOT_NULL) for key, kind in keys.items()}
    never = frozenset(key for key, kind in keys.items() if kind != bare[key])
    counted = frozenset(name for name in names if all(_counts(_projection(view, name)) for view in views))
    nulls = frozenset(name for name in names if all(_is_null_of_none(_projection(view, name)) for view in views))
    return MemberState(step, bare, never, tuple(names), views, shown, present, raised, counted, nulls)


def _counts(state: exp.Expr) -> bool:
    """Whether ``state`` counts every row."""
    return isinstance(state, exp.Anonymous) and state.name == "countState" and not state.expressions


def _is_null_of_none(state: exp.Expr) -> bool:
    """Whether ``state`` merges to NULL where no row was: an aggregate that skips NULLs, of what may be NULL."""
    if not isinstance(state, exp.Anonymous) or state.name not in _SKIPPING or len(state.expressions) != 1:
        return False
    return is_nullable(state.expressions[0])


def is_nullable(value: exp.Expr) -> bool:
    """Whether ``value`` is of a Nullable type, as far as that is seen."""
    if not isinstance(value, exp.Anonymous):
        return False
    cast = value.name == "CAST" and value.expressions[1].name.startswith("Nullable(")
    return cast or value.name == "toNullable"


def _select(text: str, step: Step) -> exp.Select:
    tree = parsed(text)
    if not isinstance(tree, exp.Select):
        raise NotShareableError(f"the queries of {step.model} can't be taken apart")
    return tree


def _projection(select: exp.Select, name: str) -> exp.Expr:
    found: exp.Expr = next(p.unalias() for p in select.expressions if p.alias_or_name == name)
    return found


def _type_of(value: exp.Expr, select: exp.Select, landings: Mapping[str, SourceSpec], step: Step) -> str:
    """What decides the type of ``value`` in ``select``: its text, landing columns replaced by their types."""

    def put(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.Column):
            return node
        for source in relations_of(select):
            if source.alias_or_name == node.table:
                return exp.Literal.string(_column_type(node.name, source, landings, step))
        raise NotShareableError(f"it is not known of which type the keys of {step.model} are")

    typed = value.copy().transform(put)
    return str(typed.name if isinstance(typed, exp.Literal) else typed.sql("clickhouse"))


def _column_type(name: str, source: exp.Expr, landings: Mapping[str, SourceSpec], step: Step) -> str:
    below = query_of(source)
    if isinstance(below, exp.Select) and below.is_star:
        (inner,) = relations_of(below)
        return _column_type(name, inner, landings, step)
    if isinstance(below, exp.Select):
        return _type_of(_projection(below, name), below, landings, step)
    spec = landings.get(f"{source.args['db'].name}.{source.name}") if isinstance(source, exp.Table) else None
    for column in spec.columns if spec is not None else ():
        if column.name == name:
            return column.clickhouse + (_NOT_NULL if spec is not None and name in spec.not_null else "")
    raise NotShareableError(f"it is not known of which type the keys of {step.model} are")


def _read(select: exp.Select, step: Step) -> tuple[Columns, tuple[exp.Expr, ...], tuple[exp.Expr, ...]]:
    """What ``select`` shows of a state, what must hold for a row to be there, and what is raised otherwise."""
    relations = relations_of(select)
    if len(relations) != 1:
        raise NotShareableError(f"{step.model} is joined to something when it is read")
    below = query_of(relations[0])
    if below is None or stored_in(relations[0]) is not None:
        found = list(conditions_of(select.args.get("having")))
        raised = tuple(c for c in found if _raises(c))
        own = {p.alias_or_name: p.unalias() for p in select.expressions}
        return own, tuple(c for c in found if c not in raised), raised
    if not isinstance(below, exp.Select):
        raise NotShareableError(f"the queries of {step.model} can't be taken apart")
    shown, present, raised = _read(below, step)
    scope = {relations[0].alias_or_name: shown}
    conditions = [moved(c, scope) for c in conditions_of(select.args.get("where"))]
    columns = {p.alias_or_name: moved(p.unalias(), scope) for p in select.expressions}
    return columns, (*present, *conditions), raised


def _raises(condition: exp.Expr) -> bool:
    """Whether it is the one that `carry_failures` adds: ``throwIf(…) = 0``."""
    call = condition.this if isinstance(condition, exp.EQ) else None
    return isinstance(call, exp.Anonymous) and call.name == "throwIf"
