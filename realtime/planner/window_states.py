"""The states of a plan, each view written over the columns of its landing table, and what they give for a lambda."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
from sqlglot import exp

from realtime.planner.flat import Flat, FlatViews
from realtime.planner.ir import Plan, State
from realtime.planner.relations import stored_rows


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A state with its views over the columns of their landing tables; ``model`` is whose it is."""

    model: str
    state: State
    views: tuple[Flat, ...]


@dataclasses.dataclass(frozen=True)
class Served:
    """What stands for a part of a query: from ``states``, as ``why`` says; none where rows are read. ``width`` is that
    of the pieces; 0 where the state has all of it. ``merged`` names the function that merges a column, where it is not
    the part's own."""

    rows: exp.Query
    states: tuple[str, ...]
    why: str
    width: int
    merged: Mapping[str, str] = dataclasses.field(default_factory=dict)


class States:
    """What the states of ``plan`` keep, each looked at once."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._types = {s.landing: {c.name: c.clickhouse for c in s.columns} for s in plan.sources}
        self._views = FlatViews()
        sharded = [s.landing for s in plan.sources if s.shards is not msgspec.UNSET]
        self._sharded = {*sharded, *(s.relation for step in plan.steps for s in step.states if s.shards is not None)}

    def over(self, landings: Sequence[str]) -> Iterator[Candidate]:
        """Those with a view over each of ``landings``, the fewest keys first. A state with a TTL of its own may lack
        rows that are in the landing table."""
        found = []
        for step in self.plan.steps:
            for state in step.states:
                if [v.landing for v in state.views] == list(landings) and not state.latest and not state.ttl:
                    views = [view for v in state.views if (view := self._views.get(v.select)) is not None]
                    if len(views) == len(landings):
                        found.append(Candidate(step.model, state, tuple(views)))
        yield from sorted(found, key=lambda c: len(c.state.order_by))

    def kind(self, landing: str) -> Callable[[exp.Expr], str]:
        """Gives the ClickHouse type of a column of ``landing``."""
        types = self._types.get(landing, {})
        return lambda node: types.get(node.name, "")

    def of_all_shards(self, query: exp.Expr) -> exp.Expr:
        """``query``, in place, over all shards' rows of the landing tables and states of a cluster that it reads."""
        for table in [t for t in query.find_all(exp.Table) if f"{t.db}.{t.name}" in self._sharded]:
            table.replace(stored_rows(f"{table.db}.{table.name}", table.alias_or_name, sharded=True))
        return query
