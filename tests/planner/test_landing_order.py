"""Landing tables in the order in which lambdas look their rows up."""

from __future__ import annotations

import pytest

from realtime.emit.landing import create_landing, sorting_key
from realtime.planner.ir import SourceSpec
from tests.planner.small import Declared, planned, project
from tests.planner.test_lambdas import written

COLUMNS = {"id": "bigint", "room": "varchar", "sender": "varchar", "sent": "timestamp", "text": "varchar"}
MODELS = {
    "stg": "with s as (select id, room as chat, lower(sender) as sender, sent from {{ source('app', 'chats') }})"
    " select * from s where id > 0",
    "minutes": "select chat, date_trunc('minute', sent) as minute, count(*) as n from {{ ref('stg') }} group by all",
}
CHAT = "chat = {{ param('chat', 'varchar') }}"
LAST = "sent > {{ as_of() }} - interval 5 minute and sent <= {{ as_of() }}"
LATEST = (
    f"select id from {{{{ ref('stg') }}}} where {CHAT} and sent <= {{{{ as_of() }}}} order by sent desc, id limit 9"
)
COUNTED = f"select count(*) as n from {{{{ ref('stg') }}}} where {CHAT} and {LAST}"
OF_ID = "select room from {{ source('app', 'chats') }} where id = {{ param('id', 'bigint') }}"
LOWERED = "select id from {{ ref('stg') }} where sender = {{ param('sender', 'varchar') }}"
RECENT = f"select count(distinct id) as n from {{{{ ref('stg') }}}} where {LAST}"


def ordered(*lambdas: str, **options: object) -> SourceSpec:
    queries = {f"l{number}": written(sql) for number, sql in enumerate(lambdas)}
    declared = {"app.chats": Declared(COLUMNS, ("id",), {"event_time": "sent", **options})}
    (source,) = planned(project(declared, MODELS, queries=queries), "x").sources
    return source


@pytest.mark.parametrize(
    ("lambdas", "order", "why"),
    [
        ((LATEST,), ("room", "sent"), "for lambdas l0: room =, then sent as a range"),
        ((COUNTED,), ("room", "sent"), "for lambdas l0: room =, then sent as a range"),
        ((OF_ID,), ("id", "sent"), "for lambdas l0: id ="),
        ((OF_ID, LATEST, COUNTED), ("room", "id", "sent"), "for lambdas l0, l2, l1: room =, then id =, then sent as"),
        ((LOWERED,), ("sent",), ""),
        ((RECENT,), ("sent",), ""),
        ((), ("sent",), ""),
    ],
)
def test_equalities_then_ranges_then_the_event_time(lambdas: tuple[str, ...], order: tuple[str, ...], why: str) -> None:
    source = ordered(*lambdas)
    assert sorting_key(source) == order
    assert source.order_why.startswith(why)
    assert bool(source.order_why) == bool(why)
    assert f"ORDER BY ({', '.join(f'`{c}`' for c in order)})" in create_landing(source).replace('"', "`")


def test_the_author_has_the_last_word() -> None:
    source = ordered(LATEST, order_by=["sender"])
    assert (source.order_by, source.order_why) == (("sender",), "")


def test_an_upserted_source_is_ordered_by_its_key() -> None:
    source = ordered(
        OF_ID.replace("id = ", "sender = ").replace("'id', 'bigint'", "'id', 'varchar'"),
        mode="upsert",
        key=["id"],
        version="sent",
    )
    assert (sorting_key(source), source.order_why) == (("id",), "")
