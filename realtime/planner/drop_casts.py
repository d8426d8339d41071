"""Drops casts around merged aggregates that are of that type anyway: each takes ClickHouse 50 to 80 µs to plan.

A state's type follows from the view that fills it, written over its landing table's columns, whose types are known.
What is not proven so keeps its cast.
"""

from __future__ import annotations

from sqlglot import exp

from realtime.emit.landing import column_type
from realtime.planner.buckets import bucket
from realtime.planner.flat import FlatViews
from realtime.planner.ir import Plan, SourceSpec, State
from realtime.planner.relations import stored_in
from realtime.planner.selects import relations_of
from realtime.transpile.form import is_cast

_OF_ARGUMENT = frozenset({"min", "max", "argMin", "argMax"})
"""Aggregates of the type of their first argument."""
_SUMS = frozenset({"sum", "sumDistinct"})
_WIDEST = ("Nullable(Int128)", "Nullable(Decimal(76, ")
"""Types whose sums are of the same type."""
_COUNTS = frozenset({"countMerge", "countIfMerge", "uniqExactMerge", "uniqExactIfMerge"})
_NULLABLE, _MOMENT = "Nullable(", "Nullable(DateTime64(6, 'UTC'))"


class Casts:
    """The casts in queries over the states of ``plan``."""

    def __init__(self, plan: Plan) -> None:
        self._states = {state.whole: state for step in plan.steps for state in step.states}
        self._sources = {source.landing: source for source in plan.sources}
        self._views = FlatViews()

    def drop(self, tree: exp.Query) -> exp.Query:
        """``tree``, in ClickHouse's dialect with columns qualified, without those that change nothing, in place."""
        for found in [n for n in tree.find_all(exp.Anonymous) if n.name == "CAST"]:
            value = found.expressions[0]
            of = self._type(value)
            if of and is_cast(found, of):
                found.replace(value)
            elif is_cast(found, "Nullable(Int64)") and _is_count(value):
                value.replace(value.expressions[0])
        return tree

    def _type(self, value: exp.Expr) -> str:
        """The ClickHouse type of ``value``, a merged column or a key; "" where it is not known."""
        merged = isinstance(value, exp.Anonymous) and value.name.endswith("Merge") and len(value.expressions) == 1
        of = value.expressions[0] if merged else value
        state = self._state(of) if isinstance(of, exp.Column) else None
        if state is None:
            return ""
        views = [self._views.get(v.select) for v in state.views if v.select]
        types = {
            self._filled(view.columns[of.name], self._sources.get(view.landing), merged=merged) if view else ""
            for view in views
            if view is None or of.name in view.columns
        }
        return types.pop() if len(types) == 1 else ""

    def _state(self, column: exp.Column) -> State | None:
        """The state that ``column`` is one of."""
        select = column.find_ancestor(exp.Select)
        for relation in relations_of(select) if select is not None else ():
            table = stored_in(relation) if relation.alias_or_name == column.table else None
            if table is not None:
                return self._states.get(f"{table.db}.{table.name}")
        return None

    def _filled(self, value: exp.Expr, source: SourceSpec | None, *, merged: bool) -> str:
        """The type of what a view fills with ``value``, once it is merged; of a key as it is."""
        if not merged:
            return _argument(value, source)
        function = value.name.removesuffix("State").removesuffix("If") if isinstance(value, exp.Anonymous) else ""
        of = _argument(value.expressions[0], source) if function in _OF_ARGUMENT | _SUMS else ""
        return of if function in _OF_ARGUMENT or of.startswith(_WIDEST) else ""


def _is_count(value: exp.Expr) -> bool:
    """Whether it is ``toInt64(countMerge(…))`` or the like: what is cast is a whole number without that, too."""
    inner = value.expressions[0] if isinstance(value, exp.Anonymous) and value.name == "toInt64" else None
    return isinstance(inner, exp.Anonymous) and inner.name in _COUNTS


def _argument(value: exp.Expr, source: SourceSpec | None) -> str:
    """The type of ``value`` where it is a cast or a column, made Nullable or not; else ""."""
    if isinstance(value, exp.Column):
        found = [c for c in source.columns if c.name == value.name] if source is not None else []
        return column_type(source, found[0]) if source is not None and found else ""
    if isinstance(value, exp.Anonymous) and value.name == "CAST":
        return str(value.expressions[1].name)
    if isinstance(value, exp.Anonymous) and value.name == "toNullable":
        inner = _argument(value.expressions[0], source)
        return inner if not inner or inner.startswith(_NULLABLE) else f"{_NULLABLE}{inner})"
    if isinstance(value, exp.Anonymous) and value.name == "fromUnixTimestamp64Micro":
        cut = bucket(value, lambda node: "")
        return _argument(cut.time, source) if cut is not None and _argument(cut.time, source) == _MOMENT else ""
    return ""
