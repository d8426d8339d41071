"""States of models that a lambda reads together become one: the lambda reads one range of keys, once.

Each view fills its own model's columns and a count of rows, which tells whether the model has the group; what other
views leave out is an empty state, which merges into nothing. A read view takes the rows in which its count is not 0,
so it gives what it gave over a state of its own. A lambda's joined row (`realtime.planner.together`) is a key of the
table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec
from sqlglot import exp

from realtime.emit.jinja import escaped
from realtime.emit.readable import parsed_exactly, readable
from realtime.planner.drop_casts import Casts
from realtime.planner.ir import LambdaSpec, Member, Plan, State, Together, View
from realtime.planner.key_rows import column_of, key_of, there
from realtime.planner.member_state import MemberState, NotShareableError, is_nullable, member_state
from realtime.planner.merge_selects import merge_selects
from realtime.planner.own_rows import own_rows
from realtime.planner.passes.split_aggregate import PLACEHOLDER, UPDATED_AT
from realtime.planner.push_conditions import from_shards, push_conditions
from realtime.planner.relations import state_table, stored_rows
from realtime.planner.together import HOLDER
from realtime.transpile.form import call, column, form, quote, render
from realtime.transpile.settings import with_settings

_SHARED = "_shared"
_COUNT = "countMerge"


def colocated(plan: Plan) -> Plan:
    """``plan`` with one state for models that a lambda reads together, where they are alike; each lambda reads it, or
    says why not."""
    refused: dict[str, str] = {}
    found = _member_states(plan, refused)
    lambdas = [_checked(spec, found, refused) for spec in plan.lambdas]
    groups: list[set[str]] = []
    for spec in lambdas:
        if spec.together is not None:
            groups = _merged(groups, {member.model for member in spec.together.members})
    for group in groups:
        members = [found[step.model] for step in plan.steps if step.model in group]
        named = _names(members)
        state = _state(members, named)
        plan = _sharing(plan, members, named, state)
        casts = Casts(plan)
        lambdas = [_placed(spec, found, named, state, casts) if _reads(spec, group) else spec for spec in lambdas]
    return msgspec.structs.replace(plan, lambdas=tuple(lambdas))


def _member_states(plan: Plan, refused: dict[str, str]) -> dict[str, MemberState]:
    """The states of what lambdas read together, by model; why others can't be shared goes to ``refused``."""
    wanted = {member.model for spec in plan.lambdas if spec.together for member in spec.together.members}
    # A refreshed table is named by what it reads: its states stay as they were planned.
    texts = [step.refresh.select for step in plan.steps if step.refresh is not None]
    windows = {relation: spec.name for spec in plan.lambdas if spec.window for relation in spec.window.states}
    found = {}
    for step in (s for s in plan.steps if s.model in wanted):
        try:
            if any(step.states[0].relation in text for text in texts):
                raise NotShareableError(f"a refreshed model reads the state of {step.model}")
            if step.states[0].relation in windows:
                raise NotShareableError(f"{windows[step.states[0].relation]} reads the state of {step.model} by itself")
            found[step.model] = member_state(step, plan)
        except NotShareableError as error:
            refused[step.model] = error.message
    return found


def _checked(spec: LambdaSpec, found: Mapping[str, MemberState], refused: Mapping[str, str]) -> LambdaSpec:
    """``spec``, without its joined row where the states of its models can't be one."""
    if spec.together is None:
        return spec
    models = [member.model for member in spec.together.members]
    reason = next((refused[model] for model in models if model in refused), "")
    for model in models if not reason else ():
        if found[model].keys != found[models[0]].keys:
            reason = f"the keys of {models[0]} and {model} are not of the same types"
    texts = [spec.together.select, *([spec.together.keyed.select] if spec.together.keyed else [])]
    if any(text.count(HOLDER) != 1 for text in texts):
        reason = f"{HOLDER} is a name that Duet needs for itself"
    return msgspec.structs.replace(spec, together=None, apart=reason) if reason else spec


def _reads(spec: LambdaSpec, group: set[str]) -> bool:
    return spec.together is not None and spec.together.members[0].model in group


def _merged(groups: list[set[str]], models: set[str]) -> list[set[str]]:
    """``groups`` with ``models`` in one of them: what two lambdas read is one state."""
    together = [group for group in groups if group & models]
    return [group for group in groups if not group & models] + [models.union(*together)]


Names = Mapping[tuple[str, str], str]
"""The shared state's name of each column of each model's own state; of its count of rows, which is called ""."""


def _names(members: Sequence[MemberState]) -> Names:
    taken = {*members[0].keys, UPDATED_AT}
    named = {}
    for member in members:
        for name in (*member.columns, ""):
            wanted, number = f"{member.step.model}__{name or 'rows'}", 2
            free = wanted
            while free in taken:
                free, number = f"{wanted}_{number}", number + 1
            taken.add(free)
            named[member.step.model, name] = free
    return named


def _state(members: Sequence[MemberState], named: Names) -> State:
    """The state that ``members`` share."""
    own = [member.step.states[0] for member in members]
    # What is looked up most finely decides: its lambdas read the key range that the others' read.
    first = min(own, key=lambda state: state.index_granularity)
    filling = [[_filling(view, member, named) for view in member.views] for member in members]
    landings = [view.landing for state in own for view in state.views]
    texts = [readable(select) for selects in filling for select in selects]
    views = [View("", landing, text) for landing, text in zip(landings, texts, strict=True)]
    state = State(
        name=f"{members[0].step.model}__together",
        relation="",
        engine=first.engine,
        order_by=first.order_by,
        index_granularity=first.index_granularity,
        compact=first.compact,
        views=tuple(views),
        models=tuple(member.step.model for member in members),
        structure=_structure(members, [selects[0] for selects in filling]),
        shards=first.shards,
    )
    contents = msgspec.json.encode([state, [each.fingerprint for each in own]])
    fingerprint = hashlib.sha256(contents).hexdigest()[:10]
    relation = f"{own[0].relation.split('.')[0]}.{state.name}__{fingerprint}"
    indexes = {index.name: index for each in own for index in each.indexes}.values()
    made = [msgspec.structs.replace(v, name=f"{relation}__mv_{i}") for i, v in enumerate(views, start=1)]
    return msgspec.structs.replace(
        state, relation=relation, fingerprint=fingerprint, views=tuple(made), why=first.why, indexes=tuple(indexes)
    )


def _filling(view: exp.Select, member: MemberState, named: Names) -> exp.Select:
    """``view`` with the shared state's names, and the count of rows."""
    select = view.copy()
    for projection in select.expressions:
        if projection.alias not in (*member.keys, UPDATED_AT):
            projection.set("alias", quote(named[member.step.model, projection.alias]))
    rows = call("sumSimpleState", call("toUInt64", 1))
    select.append("expressions", exp.alias_(rows, quote(named[member.step.model, ""])))
    return select


def _structure(members: Sequence[MemberState], selects: Sequence[exp.Select]) -> str:
    """A select that gives the columns of all ``selects``, one for each of ``members``; nothing runs it. A key may be
    NULL where it may for one of them."""
    found = exp.Select()
    for key in members[0].keys:
        nullable = [n for n, member in enumerate(members) if key not in member.never_null]
        found.append("expressions", exp.alias_(column(key, f"m{nullable[0] if nullable else 0}"), quote(key)))
    found.append("expressions", exp.alias_(column(UPDATED_AT, "m0"), quote(UPDATED_AT)))
    for number, select in enumerate(selects):
        for name in [n for n in select.named_selects if n not in (*members[0].keys, UPDATED_AT)]:
            found.append("expressions", exp.alias_(column(name, f"m{number}"), quote(name)))
        bare = select.copy()
        bare.set("settings", None)
        source = exp.Subquery(this=bare, alias=exp.TableAlias(this=quote(f"m{number}")))
        if number:
            found.append("joins", exp.Join(this=source, kind="CROSS"))
        else:
            found.set("from_", exp.From(this=source))
    return readable(with_settings(found))


def _sharing(plan: Plan, members: Sequence[MemberState], named: Names, state: State) -> Plan:
    """``plan`` with ``state`` in place of the states of ``members``."""
    by_model = {member.step.model: member for member in members}
    steps = []
    for step in plan.steps:
        if step.model in by_model:
            own = state_table(step.states[0].whole.split(".")[1]).name
            assert step.select.count(own) == 1, step.select
            select = step.select.replace(own, _rows_of(by_model[step.model], named, state))
            step = msgspec.structs.replace(step, states=(state,), select=select, own_rows=own_rows(step))
        steps.append(step)
    return msgspec.structs.replace(plan, steps=tuple(steps))


def _rows_of(member: MemberState, named: Names, state: State) -> str:
    """What takes the place of the state of ``member`` alone: the rows of ``state`` that are its own."""
    own = {name: named[member.step.model, name] for name in member.columns} | {key: key for key in member.keys}
    columns = [exp.alias_(column(name, _SHARED), quote(shown)) for shown, name in own.items()]
    source = state_table(state.whole.split(".")[1])
    source.set("alias", exp.TableAlias(this=quote(_SHARED)))
    rows = form("n > 0", n=column(named[member.step.model, ""], _SHARED))
    select = exp.Select(expressions=columns).from_(source).where(rows)
    return f"({escaped(render(select if state.shards is None else from_shards(select)))})"


def _placed(spec: LambdaSpec, found: Mapping[str, MemberState], named: Names, state: State, casts: Casts) -> LambdaSpec:
    """``spec`` with the joined row read from ``state``."""
    together = spec.together
    assert together is not None
    row = _joined_row(together, found, named, state)
    keyed = together.keyed
    if keyed is not None:
        keyed = msgspec.structs.replace(keyed, select=_reading(keyed.select, row, casts))
    select = _reading(together.select, row, casts)
    placed = msgspec.structs.replace(together, select=select, keyed=keyed, state=state.relation)
    return msgspec.structs.replace(spec, together=placed)


def _reading(text: str, row: exp.Select, casts: Casts) -> str:
    """``text`` with ``row`` in place of `HOLDER`, on one level with it where they can be."""
    tree = parsed_exactly(text)
    if tree is None:
        return text.replace(HOLDER, f"(\n{readable(row)}\n)")
    for table in [t for t in tree.find_all(exp.Table) if t.name == HOLDER]:
        table.replace(exp.Subquery(this=row.copy(), alias=table.args["alias"]))
    return readable(push_conditions(casts.drop(merge_selects(tree))), copy=False)


def _joined_row(together: Together, found: Mapping[str, MemberState], named: Names, state: State) -> exp.Select:
    """One row per key of ``state``: what it holds of each member."""
    source = stored_rows(state.relation, PLACEHOLDER, sharded=state.shards is not None)
    columns = [exp.alias_(column(key, PLACEHOLDER), quote(key_of(key))) for key in together.keys]
    raised: list[exp.Expr] = []
    for number, member in enumerate(together.members):
        own = found[member.model]
        columns += _columns_of(number, member, own, named)
        raised += [_renamed(condition, own, named) for condition in own.raised]
    row = exp.Select(expressions=columns).from_(source)
    row.set("group", exp.Group(expressions=[column(key, PLACEHOLDER) for key in together.keys]))
    if raised:
        row.set("having", exp.Having(this=exp.and_(*raised)))
    return row


def _columns_of(number: int, member: Member, own: MemberState, named: Names) -> list[exp.Expr]:
    """What the joined row has of the ``number``-th member: whether there is a row, and its columns."""
    present = form("sum(n) > 0", n=column(named[member.model, ""], PLACEHOLDER))
    for condition in own.present:
        present = form("a AND ifNull(b, 0)", a=present, b=_renamed(condition, own, named))
    columns = [exp.alias_(present, quote(there(number)))]
    for name in member.columns:
        shown = own.shown[name]
        if member.required:
            value = _renamed(shown, own, named)
        elif not own.present and _is_null_of_none(shown, own):
            value = _renamed(shown, own, named, "nullIf(sum(n), 0)")
        else:
            value = form("if(there, value, NULL)", there=present.copy(), value=_renamed(shown, own, named))
        columns.append(exp.alias_(value, quote(column_of(number, name))))
    return columns


def _is_null_of_none(shown: exp.Expr, own: MemberState) -> bool:
    """Whether ``shown`` is NULL where the model has no row, counts being NULL then: for ClickHouse to plan an ``if``
    takes as long as to merge a column."""
    if isinstance(shown, exp.Paren):
        return _is_null_of_none(shown.this, own)
    if not isinstance(shown, exp.Anonymous):
        return False
    value, *others = shown.expressions or [exp.Null()]
    if isinstance(value, exp.Column):
        counts = shown.name == _COUNT and value.name in own.counted
        return counts or (_is_merge(shown) and value.name in own.null_of_none)
    return ((shown.name == "toInt64" and not others) or is_nullable(shown)) and _is_null_of_none(value, own)


def _is_merge(node: exp.Anonymous) -> bool:
    return node.name.endswith("Merge") and len(node.expressions) == 1


def _renamed(node: exp.Expr, own: MemberState, named: Names, count: str = "sum(n)") -> exp.Expr:
    """``node``, over the state of ``own`` alone, over the one that it shares: a count of all rows is ``count`` of the
    rows that are counted anyway."""
    copy = exp.paren(node)
    counts = [n for n in copy.find_all(exp.Anonymous) if n.name == _COUNT and n.expressions[0].name in own.counted]
    for found in copy.find_all(exp.Column):
        if found.name in own.columns:
            found.set("this", quote(named[own.step.model, found.name]))
    for counting in counts:
        counting.replace(form(count, n=column(named[own.step.model, ""], PLACEHOLDER)))
    renamed: exp.Expr = copy.this
    return renamed.pop()
