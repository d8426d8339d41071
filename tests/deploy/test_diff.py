"""What a deploy would do, decided from records alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from realtime.clickhouse.moment import EPOCH
from realtime.deploy.change import Kind
from realtime.deploy.diff import changes, states_of
from realtime.deploy.live import Live, ReadView, Table
from realtime.deploy.options import Options
from realtime.deploy.source_changes import orphans, other_order
from realtime.emit.landing import column_type
from realtime.errors import ConfigError, SourceError
from realtime.planner.ir import Plan
from realtime.planner.planner import plan_project
from realtime.project.manifest import Source
from tests.deploy.conftest import BUSIEST, COLUMNS, MODELS, PER_ROOM, PER_SENDER, generic_test, project, source

DB = "shop"


def planned(of: Source | None = None, /, **models: str) -> Plan:
    outcome = plan_project(project(models or {"per_room": PER_ROOM, "busiest": BUSIEST}, of=of), DB)
    assert not outcome.refusals
    return outcome.plan


def deployed(plan: Plan, rows: int = 0) -> Live:
    """The server as a deploy of ``plan`` leaves it."""
    (chat,) = plan.sources
    hidden = {"_ingested_at": "DateTime64(6, 'UTC')", "_batch_id": "UInt64"}
    columns = {c.name: column_type(chat, c) for c in chat.columns} | hidden
    engine = "ReplacingMergeTree" if chat.mode == "upsert" else "MergeTree"
    landing = Table(engine=engine, sorting_key=", ".join(chat.key or ("_ingested_at",)), rows=rows, columns=columns)
    states = [state for step in plan.steps for state in step.states]
    table = Table(engine="AggregatingMergeTree", sorting_key="", rows=0, columns={})
    refused = Table(engine="ReplacingMergeTree", sorting_key="", rows=0, columns={"revision": "UInt8"})
    return Live(
        database=DB,
        plan=plan,
        landing={chat.landing: landing, chat.quarantine: refused},
        states={s.relation: table for s in states},
        views=frozenset(v.name for s in states for v in s.views),
        complete=frozenset(s.relation for s in states),
        read_views={s.relation: ReadView(engine="View", deployed=True, select="SELECT 1") for s in plan.steps},
    )


def test_nothing_is_to_do_after_a_deploy() -> None:
    plan = planned()
    assert changes(plan, deployed(plan)) == ()


def test_a_first_deploy_makes_everything_and_says_why() -> None:
    found = changes(planned(), Live(database=DB))
    assert [c.kind for c in found] == [Kind.CREATE_SOURCE, Kind.CREATE_STATE, Kind.CREATE_VIEW, Kind.CREATE_VIEW]
    assert str(found[0]) == "create source shop_raw.chat__messages: source chat.messages is new"
    assert str(found[3]) == "create read view shop.busiest: model busiest is new"
    assert msgspec.json.decode(msgspec.json.encode(found))[0] == {
        "kind": "create source",
        "subject": "shop_raw.chat__messages",
        "reason": "source chat.messages is new",
        "rows": 0,
        "destructive": False,
    }


def test_a_changed_model_gets_a_new_state_and_the_old_one_goes() -> None:
    live = deployed(planned(), rows=12_345)
    found = changes(planned(per_room=PER_ROOM.replace("sum(", "max("), busiest=BUSIEST), live)
    assert [c.kind for c in found] == [Kind.CREATE_STATE, Kind.REPLACE_VIEW, Kind.KEEP_STATE]
    assert found[2].reason == "it goes on being fed until 1970-01-08, for duet rollback per_room"
    at_once = changes(planned(per_room=PER_ROOM.replace("sum(", "max("), busiest=BUSIEST), live, Options(keep_days=0))
    assert [c.kind for c in at_once[2:]] == [Kind.DROP_STATE, Kind.DROP_MATERIALIZED_VIEW]
    assert str(found[0]).endswith("what model per_room keeps has changed, about 12,345 rows to backfill")


def test_a_model_that_is_gone_takes_its_view_along() -> None:
    found = changes(planned(per_room=PER_ROOM), deployed(planned()))
    assert [(c.kind, c.subject) for c in found] == [(Kind.DROP_VIEW, "shop.busiest")]


def test_what_nobody_deployed_is_left_alone_and_not_replaced() -> None:
    plan = planned()
    live = deployed(plan)
    mine = {**live.read_views, "shop.mine": ReadView(engine="MergeTree", deployed=False, select="")}
    assert changes(plan, msgspec.structs.replace(live, read_views=mine)) == ()
    taken = msgspec.structs.replace(live, read_views={**live.read_views, "shop.per_sender": mine["shop.mine"]})
    with pytest.raises(ConfigError, match=r"shop\.per_sender exists already \(MergeTree\)"):
        changes(planned(per_sender=PER_SENDER), taken)


def test_an_unfinished_state_is_made_again() -> None:
    plan = planned()
    live = msgspec.structs.replace(deployed(plan), complete=frozenset())
    (change,) = changes(plan, live)
    assert (change.kind, change.reason) == (Kind.CREATE_STATE, "an earlier deploy did not finish it")


def test_a_state_whose_landing_table_is_gone_is_made_again() -> None:
    plan = planned()
    found = changes(plan, msgspec.structs.replace(deployed(plan), landing={}))
    assert [c.kind for c in found] == [Kind.CREATE_SOURCE, Kind.CREATE_STATE]


def test_a_new_column_is_added() -> None:
    wider = planned(source({**COLUMNS, "country": "varchar", "tags": "varchar[]"}))
    found = changes(wider, deployed(planned()))
    assert [(c.kind, c.subject.split(".")[-1]) for c in found] == [
        (Kind.ADD_COLUMN, "country"),
        (Kind.ADD_COLUMN, "tags"),
    ]


KEYED: dict[str, Any] = {"mode": "upsert", "key": "id", "version": "size"}


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (source(), source({**COLUMNS, "size": "varchar"}), r"column size is Nullable\(String\) now"),
        (source(**KEYED), source(**{**KEYED, "key": "room"}), "key is room now"),
        (source(**KEYED), source(**{**KEYED, "version": "id"}), "version is"),
        (source(**KEYED), source(partition_by="id", **KEYED), "partition_by is id now"),
        (source(**KEYED), source({**COLUMNS, "size": "bigint"}, **KEYED), "by which rows replace others, is Int64 now"),
        (source(), source(**KEYED), "mode is upsert now"),
        (source({**COLUMNS, "size": "bigint"}), source(), "does not take every Nullable"),
        (source(), source({**COLUMNS, "tags": "varchar[]"}), "column tags is new, and the 7 rows"),
        (source(), source({**COLUMNS, "country": "varchar"}, ["id", "country"]), "column country is new"),
        (source({**COLUMNS, "v": "float[2]"}), source({**COLUMNS, "v": "float[3]"}), r"v is FLOAT\[3\] now, was FLOAT"),
    ],
)
def test_a_source_that_can_not_follow_is_refused(before: Source, after: Source, words: str) -> None:
    live = deployed(planned(before, ids="select count(*) as n from memory.chat.messages"), rows=7)
    plan = planned(after, ids="select count(*) as n from memory.chat.messages")
    with pytest.raises(SourceError, match=words) as caught:
        changes(plan, live)
    assert caught.value.remedy


IDS = {"ids": "select count(*) as n from memory.chat.messages"}


@pytest.mark.parametrize(
    ("before", "after", "kind", "words"),
    [
        (source(), source({**COLUMNS, "size": "bigint"}), Kind.WIDEN_COLUMN, r"it is Nullable(Int64) now, was"),
        (source(not_null=["id", "room"]), source(), Kind.WIDEN_COLUMN, "it is Nullable(String) now, was String"),
        (
            source(),
            source(order_by="room"),
            Kind.REBUILD_SOURCE,
            "order_by is room now, was _ingested_at, about 7 rows",
        ),
        (source(), source(partition_by="size"), Kind.REBUILD_SOURCE, "partition_by is size now, was not set"),
        (source(), source(ttl="_ingested_at + INTERVAL 1 DAY"), Kind.CHANGE_TTL, "it is _ingested_at + INTERVAL 1 DAY"),
        (
            source(),
            source({k: v for k, v in COLUMNS.items() if k != "room"}),
            Kind.DROP_COLUMN,
            "reads the source now: ids, about 7 rows to touch [destructive]",
        ),
    ],
)
def test_a_source_that_can_follow_is_altered(before: Source, after: Source, kind: Kind, words: str) -> None:
    (change,) = changes(planned(after, **IDS), deployed(planned(before, **IDS), rows=7))
    assert (change.kind, words in str(change)) == (kind, True), str(change)
    assert change.destructive == (kind is Kind.DROP_COLUMN)


def test_a_ttl_that_deletes_rows_is_destructive() -> None:
    live = msgspec.structs.replace(deployed(planned(source(), **IDS), rows=7), expiring={"shop_raw.chat__messages": 3})
    (change,) = changes(planned(source(ttl="_ingested_at + INTERVAL 1 DAY"), **IDS), live)
    assert str(change).endswith("was not set, about 3 rows to lose [destructive]")


def test_an_empty_table_is_made_anew() -> None:
    (change,) = changes(planned(source(**KEYED), **IDS), deployed(planned(source(), **IDS)))[:1]
    assert (change.kind, change.reason.split(";")[0]) == (Kind.REBUILD_SOURCE, "mode is upsert now, was append")


def test_a_table_of_no_source_is_an_orphan_and_no_change() -> None:
    plan = planned()
    live = deployed(plan, rows=7)
    old = {
        "shop_raw.chat__old": live.landing["shop_raw.chat__messages"],
        "shop_raw.mine": live.landing["shop_raw.chat__messages"],
    }
    live = msgspec.structs.replace(live, landing={**live.landing, **old}, landed=frozenset({"shop_raw.chat__old"}))
    assert changes(plan, live) == ()
    (orphan,) = orphans(plan, live)
    assert (orphan.subject, orphan.rows, orphan.destructive) == ("shop_raw.chat__old", 7, True)


def test_a_test_that_is_new_is_run_and_one_that_is_gone_is_dropped() -> None:
    not_null = generic_test("not_null", "per_room", "room")
    plain, tested = planned(), plan_project(project(MODELS, [not_null]), DB).plan
    (change,) = changes(tested, deployed(plain))
    assert str(change) == "run test not_null on per_room.room: it is new"
    strict = plan_project(
        project(MODELS, [generic_test("not_null", "per_room", "room", {"severity": "warn"})]), DB
    ).plan
    (change,) = changes(strict, deployed(tested))
    assert str(change) == "run test not_null on per_room.room: it has changed"
    (change,) = changes(plain, deployed(tested))
    assert (change.kind, change.subject) == (Kind.DROP_TEST, "not_null on per_room.room")


def test_without_a_backfill_a_state_begins_now_and_can_be_filled_later() -> None:
    plan = planned()
    (state, *_) = changes(plan, Live(database=DB), Options(backfill=False))[1:]
    assert state.reason.endswith("; it begins now, without a backfill")
    late = msgspec.structs.replace(deployed(plan, rows=7), late={next(iter(states_of(plan))): EPOCH})
    assert changes(plan, late) == ()
    (change,) = changes(plan, late, Options(backfill=True))
    assert (change.kind, change.rows) == (Kind.BACKFILL_STATE, 7)


def test_a_column_declared_not_null_later_stays_as_it_is() -> None:
    live = deployed(planned(), rows=7)
    strict = planned(source(not_null=["id", "sender"]))
    assert [c.kind for c in changes(strict, live)] == [Kind.RECORD_PLAN]


def test_lambdas_order_few_rows_anew_and_leave_many_where_they_are() -> None:
    plan = planned()
    (chat,) = plan.sources
    why = "for lambdas of_room: room ="
    asked = msgspec.structs.replace(plan, sources=(msgspec.structs.replace(chat, order_by=("room",), order_why=why),))
    few, many = deployed(plan, rows=1_000_000), deployed(plan, rows=1_000_001)
    (made,) = changes(asked, few)
    assert made.kind is Kind.REBUILD_SOURCE
    assert made.reason == f"order_by is room now, was _ingested_at ({why})"
    assert other_order(asked, few) == ()
    assert [c.kind for c in changes(asked, many)] == [Kind.RECORD_PLAN]
    (line,) = other_order(asked, many)
    assert line.startswith(f"shop_raw.chat__messages stays ordered by _ingested_at; it would be room {why}.")
    assert line.endswith("write order_by: [room] in meta.realtime of chat.messages")
    assert changes(asked, msgspec.structs.replace(many, plan=asked)) == ()


def test_an_order_that_lambdas_asked_for_stays_when_they_are_gone() -> None:
    plan = planned()
    (chat,) = plan.sources
    asked = msgspec.structs.replace(plan, sources=(msgspec.structs.replace(chat, order_by=("room",), order_why="x"),))
    live = deployed(asked, rows=5)
    table = msgspec.structs.replace(live.landing[chat.landing], sorting_key="room")
    live = msgspec.structs.replace(live, landing={**live.landing, chat.landing: table})
    assert [c.kind for c in changes(plan, live)] == [Kind.RECORD_PLAN]
    written = msgspec.structs.replace(plan, sources=(msgspec.structs.replace(chat, order_by=("sender",)),))
    assert Kind.REBUILD_SOURCE in [c.kind for c in changes(written, live)]
