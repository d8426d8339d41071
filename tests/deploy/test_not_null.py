"""A column that becomes ``not_null``: states made before take the rows that come after."""

from __future__ import annotations

from realtime.deploy.promote import stage_views
from tests.deploy.conftest import Site, project, source

MODELS = {
    "newest": "select * from memory.chat.messages qualify row_number() over (partition by room order by id desc) = 1",
    "largest": "select room, arg_max(sender, id) as sender, list(sender order by id) as senders, max(size) as size,"
    " count(distinct sender) as different from memory.chat.messages group by room",
}
READ = "SELECT room, id, sender, size FROM {db}.newest ORDER BY room"
SENDERS = "SELECT room, sender, length(senders), size, different FROM {db}.largest ORDER BY room"


def test_a_landing_table_that_is_remade_later(site: Site) -> None:
    site.deploy(project(MODELS, of=source(not_null=())), build=stage_views)
    site.insert(0, 30)
    every = ("id", "room", "sender", "size")
    site.deploy(project(MODELS, of=source(not_null=every)), build=stage_views)
    site.insert(30, 30)
    site.deploy(project(MODELS, of=source(not_null=every, order_by=["room"])), build=stage_views)
    site.insert(60, 30)
    assert site.rows(READ) == [(f"room {r}", 87 + r, f"sender {(87 + r) % 7}", (87 + r) % 11) for r in range(3)]
    assert [row[1:] for row in site.rows(SENDERS)] == [(f"sender {(87 + r) % 7}", 30, 10, 7) for r in range(3)]
