"""What is emitted for a cluster: text, for its engines need Keeper, which the local ClickHouse does not reach."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec

from realtime.emit.project import generate
from realtime.emit.shards import create_database, drop_database, remake_whole
from realtime.planner.ir import Plan
from realtime.planner.planner import plan_project
from tests.deploy.conftest import PER_ROOM, project, source

_EXPECTED = Path(__file__).parents[1] / "fixtures" / "shards"
_PAIRS = "select a.id, b.total from memory.chat.messages as a join memory.main.per_room as b on a.room = b.room"


def emitted(cluster: str) -> Plan:
    models = {"per_room": PER_ROOM, "pairs": _PAIRS}
    authored = project(models, of=source(shard_by=["sender", "id"]))
    outcome = plan_project(dataclasses.replace(authored, cluster=cluster), "chat")
    assert not outcome.refusals
    return outcome.plan


def test_tables_and_views_of_a_cluster() -> None:
    files = generate(emitted("many"))
    chosen = [name for name in files if name.endswith(".sql")]
    written = "".join(f"-- {name}\n{files[name]}\n" for name in sorted(chosen))
    assert written == (_EXPECTED / "project.sql").read_text()


def test_statements_of_a_deploy_to_a_cluster() -> None:
    (source_,) = emitted("many").sources
    assert source_.shards is not msgspec.UNSET
    statements = [
        create_database("chat_raw", "many"),
        create_database("chat_duet", "many", everywhere=True),
        drop_database("chat_staging_0", "many"),
        remake_whole(source_.landing, source_.shards),
    ]
    assert ";\n\n".join(statements) + ";\n" == (_EXPECTED / "deploy.sql").read_text()


def test_without_a_cluster_nothing_is_said_of_one() -> None:
    files = generate(emitted(""))
    words = ("Replicated", "Distributed", "CLUSTER", "shard", "_all")
    assert [(name, w) for name, text in files.items() for w in words if w in text] == []


def test_an_upserted_source_is_spread_by_its_key() -> None:
    people = source(mode="upsert", key=["room", "id"], version="size")
    authored = project({"people": "select * from memory.chat.messages"}, of=people)
    outcome = plan_project(dataclasses.replace(authored, cluster="many"), "chat")
    (spec,) = outcome.plan.sources
    assert spec.shards is not msgspec.UNSET
    assert spec.shards.by == ("room", "id")
