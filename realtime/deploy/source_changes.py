"""What a source's landing table has to become: online where that is exact, refused where rows can't follow."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from realtime.deploy.change import Change, Kind
from realtime.deploy.live import Live, Table
from realtime.deploy.widening import is_wider
from realtime.emit.landing import BATCH_ID, HIDDEN, QUARANTINE_NEWEST, column_type, engine, is_nested, sorting_key
from realtime.emit.names import quoted
from realtime.errors import SourceError
from realtime.planner.ir import Column, Plan, SourceSpec
from realtime.transpile.types import duck_type

_REMADE = 1_000_000
"""Rows up to which a deploy remakes a landing table by itself because lambdas look them up in another way."""


def source_changes(source: SourceSpec, live: Live) -> Iterator[Change]:
    """What has to be done to the tables of ``source``, in the order of a deploy; columns are dropped after the rest.

    SourceError where the rows that are there can't follow.
    """
    table = live.landing.get(source.landing)
    if table is None:
        yield Change(Kind.CREATE_SOURCE, source.landing, f"source {source.name} is new")
        return
    if source.quarantine not in live.landing:
        yield Change(Kind.CREATE_SOURCE, source.quarantine, "an earlier deploy did not finish")
    elif QUARANTINE_NEWEST not in live.landing[source.quarantine].columns:
        yield Change(Kind.ADD_COLUMN, f"{source.quarantine}.{QUARANTINE_NEWEST}", "it tells what was replayed")
    _check_shards(source, table, live)
    rebuilt = _rebuilt(source, table, live)
    if rebuilt and source.shards is not msgspec.UNSET:
        raise SourceError(
            f"source {source.name}: {rebuilt}: a landing table is not made anew on a cluster yet",
            remedy="undo it, or take the rows in a source of their own beside this one",
        )
    if rebuilt:
        yield Change(Kind.REBUILD_SOURCE, source.landing, rebuilt, table.rows)
    if BATCH_ID not in table.columns and not rebuilt:
        yield Change(Kind.ADD_COLUMN, f"{source.landing}.{BATCH_ID}", "by it a batch of rows is found again")
    yield from _columns(source, table, rebuilt=bool(rebuilt))
    yield from _ttl(source, live)
    yield from _dropped(source, table, live)


def fits(before: SourceSpec, after: SourceSpec) -> bool:
    """Whether what was compiled over ``before`` is exact over ``after``: columns and options that it knew are as they
    were. Columns may have come, and a column may have become ``not_null``."""
    options = ("landing", "mode", "key", "version", "deleted")
    if any(getattr(before, o) != getattr(after, o) for o in options):
        return False
    types = {c.name: c.type for c in after.columns}
    became_nullable = set(before.not_null) - set(after.not_null)
    return all(types.get(c.name) == c.type for c in before.columns) and not became_nullable


def other_order(plan: Plan, live: Live) -> tuple[str, ...]:
    """What to know of landing tables that keep another order than their lambdas ask for, one line each."""
    found = []
    for source in plan.sources:
        table = live.landing.get(source.landing)
        if table is not None and _stays_ordered(source, table, source) and _wanted(source) != _there(table):
            found.append(
                f"{source.landing} stays ordered by {_there(table)}; it would be {_wanted(source)} {source.order_why}. "
                + _what_remakes(source, table)
            )
    return tuple(found)


def _what_remakes(source: SourceSpec, table: Table) -> str:
    """What would give the landing table the order that its lambdas ask for."""
    if source.shards is not msgspec.UNSET:
        return "On a cluster a landing table keeps the order that it was made with"
    return (
        f"A deploy remakes {_REMADE:,} rows at most by itself; to have all {table.rows:,} remade, while rows "
        f"come in, write order_by: [{_wanted(source)}] in meta.realtime of {source.name}"
    )


def orphans(plan: Plan, live: Live) -> tuple[Change, ...]:
    """Landing and quarantine tables that a deploy made and that are of no source of ``plan``."""
    used = {name for s in plan.sources for name in (s.landing, s.quarantine)}
    return tuple(
        Change(Kind.DROP_SOURCE, relation, "the project has no such source any more", table.rows, destructive=True)
        for relation, table in sorted(live.landing.items())
        if relation in live.landed and relation not in used
    )


def _check_shards(source: SourceSpec, table: Table, live: Live) -> None:
    """SourceError where rows that come now would be on other shards than those before: a retry would count twice, and
    of a key there would be two rows."""
    before = next((s for s in live.plan.sources if s.name == source.name), source) if live.plan is not None else source
    if before.shards != source.shards:
        raise _refused(source, table, "cluster and shard_by are not what they were when it was deployed")


def _rebuilt(source: SourceSpec, table: Table, live: Live) -> str:
    """Why the landing table must be made anew; empty where it needn't. SourceError where its rows would change."""
    before = next((s for s in live.plan.sources if s.name == source.name), source) if live.plan is not None else source
    replacing = table.engine.endswith("ReplacingMergeTree")
    order = "key" if source.mode == "upsert" else "order_by"
    stays = _stays_ordered(source, table, before)
    facts = (
        ("mode", source.mode, "upsert" if replacing else "append"),
        ("version", engine(source), engine(before) if replacing == (source.mode == "upsert") else ""),
        (order, _wanted(source) if not stays else _there(table), _there(table)),
        ("partition_by", source.partition_by, before.partition_by),
    )
    changed = [(what, now, then) for what, now, then in facts if now != then]
    for what, now, then in changed:
        if table.rows and (source.mode == "upsert" or replacing):
            raise _refused(source, table, f"{what} is {now or 'not set'} now, where it was {then or 'not set'}")
    changed += [(f"the type of {c.name}", *t) for c, t in [*_narrowed(source, table), *_resized(source, table, before)]]
    changed += [(f"the type of {c.name}", *t) for c, t in _widened(source, table) if c.name in sorting_key(source)]
    why = f" ({source.order_why})" if source.order_why and facts[2] in changed else ""
    return "; ".join(f"{what} is {now or 'not set'} now, was {then or 'not set'}" for what, now, then in changed) + why


def _stays_ordered(source: SourceSpec, table: Table, before: SourceSpec) -> bool:
    """Whether the order of the landing table is left as it is: lambdas decide about few rows only, on a cluster about
    none, and where they did and are gone, nobody asks for another."""
    if source.order_why:
        return table.rows > _REMADE or source.shards is not msgspec.UNSET
    return bool(before.order_why) and source.order_by == ((source.event_time,) if source.event_time else ())


def _wanted(source: SourceSpec) -> str:
    return _plain(", ".join(sorting_key(source)))


def _there(table: Table) -> str:
    return _plain(table.sorting_key).strip("()")


def _narrowed(source: SourceSpec, table: Table) -> list[tuple[Column, tuple[str, str]]]:
    """Columns that don't hold all values of before, of a table without rows; SourceError where it has rows."""
    found = [(c, t) for c, t in _retyped(source, table) if not is_wider(t[1], t[0])]
    for column, (now, then) in found:
        if table.rows:
            raise _refused(source, table, f"column {column.name} is {now} now, which does not take every {then}")
    return found


def _resized(source: SourceSpec, table: Table, before: SourceSpec) -> list[tuple[Column, tuple[str, str]]]:
    """Vectors whose size is another, of a table without rows; SourceError where it has rows. ClickHouse's type does not
    tell, but what a row is that gives none."""
    earlier = {column.name: duck_type(column.type) for column in before.columns}
    types = [(column, duck_type(column.type)) for column in source.columns if column.name in earlier]
    found = [(c, (now.name, earlier[c.name].name)) for c, now in types if 0 < earlier[c.name].size != now.size > 0]
    for column, (now, then) in found:
        if table.rows:
            raise _refused(source, table, f"column {column.name} is {now} now, was {then}")
    return found


def _widened(source: SourceSpec, table: Table) -> list[tuple[Column, tuple[str, str]]]:
    found = [(c, t) for c, t in _retyped(source, table) if is_wider(t[1], t[0])]
    for column, (now, then) in found:
        if table.rows and source.mode == "upsert" and column.name in (*source.key, source.version):
            raise _refused(
                source, table, f"column {column.name}, by which rows replace others, is {now} now, was {then}"
            )
    return found


def _retyped(source: SourceSpec, table: Table) -> list[tuple[Column, tuple[str, str]]]:
    """Declared columns whose type is another one than in the table, with their types now and then."""
    found = []
    for column in source.columns:
        wanted, there = _plain(column_type(source, column)), _plain(table.columns.get(column.name, ""))
        # A column that may hold NULLs also takes rows that hold none: not_null is checked where rows come in.
        if there and there not in (wanted, f"Nullable({wanted})"):
            found.append((column, (wanted, there)))
    return found


def _columns(source: SourceSpec, table: Table, *, rebuilt: bool) -> Iterator[Change]:
    for column in source.columns:
        if column.name not in table.columns:
            if table.rows and column_type(source, column) == column.clickhouse:
                nested = (
                    "a list, vector, struct or map can't be NULL" if is_nested(column) else "it is declared not_null"
                )
                raise SourceError(
                    f"source {source.name}: column {column.name} is new, and the {table.rows:,} rows that are there "
                    f"already would have no value for it: {nested}",
                    remedy="declare the column without not_null, or take the new rows in a source of their own",
                )
            yield Change(Kind.ADD_COLUMN, f"{source.landing}.{column.name}", f"source {source.name} declares it now")
    for column, (now, then) in () if rebuilt else _widened(source, table):
        yield Change(Kind.WIDEN_COLUMN, f"{source.landing}.{column.name}", f"it is {now} now, was {then}")


def _ttl(source: SourceSpec, live: Live) -> Iterator[Change]:
    before = next((s for s in live.plan.sources if s.name == source.name), None) if live.plan is not None else None
    if before is not None and before.ttl != source.ttl:
        held = source.name in live.held
        gone = live.expiring.get(source.landing, 0) if not held else 0
        reason = f"it is {source.ttl or 'not set'} now, was {before.ttl or 'not set'}"
        reason += "; what has expired goes with an export, once the lake has it" if held else ""
        yield Change(Kind.CHANGE_TTL, source.landing, reason, gone, destructive=bool(gone))


def _dropped(source: SourceSpec, table: Table, live: Live) -> Iterator[Change]:
    declared = {c.name for c in source.columns}
    for name in table.columns:
        if name not in declared and name not in HIDDEN:
            readers = _readers(source.name, live)
            reason = f"source {source.name} does not declare it any more"
            reason += f"; what reads the source now: {', '.join(readers)}" if readers else ""
            yield Change(Kind.DROP_COLUMN, f"{source.landing}.{name}", reason, table.rows, destructive=bool(table.rows))


def _readers(source: str, live: Live) -> list[str]:
    """Models and lambdas of the active plan that read ``source``, directly or through others."""
    if live.plan is None:
        return []
    reached = {source}
    for step in live.plan.steps:  # each after what it reads
        if reached & set(step.depends_on):
            reached.add(step.model)
    lambdas = [f"lambda {spec.name}" for spec in live.plan.lambdas if reached & set(spec.depends_on)]
    return sorted(reached - {source}) + lambdas


def _refused(source: SourceSpec, table: Table, what: str) -> SourceError:
    landing = ".".join(quoted(p) for p in source.landing.split("."))
    return SourceError(
        f"source {source.name}: {what}: the {table.rows:,} rows in {source.landing} can't follow",
        remedy="undo it, or declare the new form as a column or source of its own beside this one and cast in the "
        f"models; to give up the rows that are there, and what was made of them: DROP TABLE {landing}",
    )


def _plain(text: str) -> str:
    """A type or key without the backquotes, which the server prints only where a name needs them."""
    return text.replace("`", "")
