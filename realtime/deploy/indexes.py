"""Skip indexes of landing tables and states: added and dropped online, whatever else a deploy does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from realtime.deploy.change import Change, Kind
from realtime.deploy.ledger import Work
from realtime.deploy.live import Live, Table
from realtime.emit.landing import add_index
from realtime.planner.ir import Index, Plan


def index_changes(plan: Plan, live: Live) -> Iterator[Change]:
    """Indexes that tables which are there lack, and those that nobody asks for any more."""
    tables = {**live.landing, **live.states}
    for relation, wanted in _wanted(plan).items():
        table = tables.get(relation)
        if table is None:
            continue
        for name in wanted.keys() - table.indexes:
            said = f"{wanted[name].expression} {wanted[name].type}".replace("`", "")
            yield Change(Kind.ADD_INDEX, f"{relation}.{name}", said, table.rows)
        for name in sorted(table.indexes - wanted.keys()):
            yield Change(Kind.DROP_INDEX, f"{relation}.{name}", "the project does not ask for it any more")


def sync_indexes(work: Work, plan: Plan, tables: Mapping[str, Table]) -> None:
    """Gives ``tables`` the indexes that ``plan`` asks for. Parts that are there get them in the background: until then
    they are read whole."""
    for relation, wanted in _wanted(plan).items():
        there = tables[relation].indexes if relation in tables else frozenset()
        for name in sorted(there - wanted.keys()):
            work.client.execute(f"ALTER TABLE {relation} DROP INDEX IF EXISTS {name}", settings={"mutations_sync": 0})
        for name in sorted(wanted.keys() - there):
            work.client.execute(add_index(relation, wanted[name]))
            work.client.execute(f"ALTER TABLE {relation} MATERIALIZE INDEX {name}", settings={"mutations_sync": 0})


def _wanted(plan: Plan) -> dict[str, dict[str, Index]]:
    found = {source.landing: source.indexes for source in plan.sources}
    found |= {state.relation: state.indexes for step in plan.steps for state in step.states}
    return {relation: {index.name: index for index in indexes} for relation, indexes in found.items()}
