"""Indexes by hint: added and dropped online, used by what lambdas send, and without effect on any answer."""

from __future__ import annotations

import dataclasses
from typing import Any

from realtime.deploy.change import Kind
from realtime.deploy.promote import stage_views
from realtime.planner.ir import LambdaSpec, Plan
from realtime.project.manifest import Project, Query, Source
from tests.deploy.conftest import Site, model, project, source

COLUMNS = {"id": "bigint", "room": "varchar", "text": "varchar", "size": "integer", "v": "float[3]"}
MODELS = {
    "notes": "select id, room, text, size, v from memory.chat.messages",
    "per_text": "select text, room, count(*) as n, sum(size) as total from memory.chat.messages group by text, room",
}
SOURCE = [
    {"columns": "text", "type": "text"},
    {"columns": ["id", "size"], "type": "minmax"},
    {"columns": "v", "type": "vector"},
]
STATE = [{"columns": "text", "type": "text"}, {"columns": "room", "type": "bloom"}]
LAMBDAS = {
    "found": ("notes", "contains(text, $q::varchar)", ["ix_text_text"]),
    "literal": ("notes", "contains(text, 'word 777%')", ["ix_text_text"]),
    "liked": ("notes", "text like '%word 777\\%%' escape '\\'", ["ix_text_text"]),
    "sized": ("notes", "size between 20000 and 20002", ["ix_minmax_size"]),
    "begun": ("per_text", "starts_with(text, 'word 777')", ["ix_text_text"]),
    "grouped": ("per_text", "contains(text, $q::varchar) and room = 'r3589'", ["ix_text_text", "ix_bloom_room"]),
    "one_room": ("per_text", "room = 'r3589'", ["ix_bloom_room"]),
}
PARAMETER = '$q /* duet.param {"name": "q", "type": "varchar"} */'
ROWS = (
    "SELECT number, if(number % 101 = 0, NULL, concat('r', toString(intDiv(number, 100) * 97 % 20011))), "
    "if(number % 11 = 0, NULL, concat('word ', toString(number % 3001), if(number % 2 = 0, '%', '_'))), number, "
    "arrayMap(i -> toFloat32(sin(number * i)), [1, 2, 3]) "
    "FROM numbers(30000)"
)


def built(indexes: list[Any], of_state: list[Any]) -> Project:
    """The models and lambdas with these hints."""
    found: Project = project(MODELS, of=chat(indexes))
    models = {
        u: dataclasses.replace(m, options={"indexes": of_state}) if m.name == "per_text" else m
        for u, m in found.models.items()
    }
    queries = []
    for name, (reads, condition, _) in LAMBDAS.items():
        sql = f"select * from memory.main.{reads} where {condition.replace('$q', PARAMETER)}"
        queries.append(Query(name, sql, (model(reads, "").unique_id,), {}, "", f"lambdas/{name}.sql"))
    return dataclasses.replace(found, models=models, queries=tuple(queries))


def chat(indexes: list[Any]) -> Source:
    """The source of messages."""
    return source(COLUMNS, indexes=indexes)


def named(site: Site) -> set[tuple[str, str]]:
    """The kind of table and the type and column of every index that a hint asked for."""
    rows = site.rows(
        "SELECT splitByChar('_', database)[-1], arrayStringConcat(arrayPopBack(splitByChar('_', name)), '_') "
        "FROM system.data_skipping_indices WHERE startsWith(database, '{db}') AND startsWith(name, 'ix_')"
    )
    return {(kind, name) for kind, name in rows}


def given(spec: LambdaSpec) -> dict[str, str]:
    """The lambda's parameters."""
    return {param.name: "word 777%" for param in spec.params}


def explained(site: Site, spec: LambdaSpec) -> str:
    """What ClickHouse makes of the lambda's query."""
    sql = f"EXPLAIN indexes = 1 {spec.select}"
    return "\n".join(line for (line,) in (row.values() for row in site.client.rows(sql, given(spec))))


def answered(site: Site, spec: LambdaSpec, *, indexed: bool) -> list[str]:
    """The lambda's rows, in some order."""
    rows = site.client.rows(spec.select, given(spec), settings={"use_skip_indexes": int(indexed)})
    return sorted(map(str, rows))


def test_lambdas_use_them_and_no_answer_changes(site: Site) -> None:
    plan: Plan = site.deploy(built([], []), build=stage_views)
    landing, (state,) = plan.sources[0].landing, next(s.states for s in plan.steps if s.states)
    site.client.execute(f"INSERT INTO {landing} ({', '.join(COLUMNS)}) {ROWS}")
    assert named(site) == set()
    wanted = site.compile(built(SOURCE, STATE))
    found = site.changes(wanted)
    assert [c.kind for c in found] == [Kind.ADD_INDEX] * 6
    assert all(c.rows and not c.destructive for c in found)
    assert site.deploy(built(SOURCE, STATE), build=stage_views) == wanted
    assert wanted.steps[-1].states[0].relation == state.relation  # the table stays, and so do its rows
    assert named(site) == {
        ("raw", "ix_text_text"), ("raw", "ix_minmax_id"), ("raw", "ix_minmax_size"), ("raw", "ix_vector_v"),
        ("state", "ix_text_text"), ("state", "ix_bloom_room"),
    }  # fmt: skip
    for relation in (landing, state.relation):
        site.client.execute(f"OPTIMIZE TABLE {relation} FINAL", settings={"optimize_skip_merged_partitions": 0})
    for spec in wanted.lambdas:
        text = explained(site, spec)
        for index in LAMBDAS[spec.name][2]:
            assert f"Name: {index}" in text, f"{spec.name}: {text}"
        assert answered(site, spec, indexed=True) == answered(site, spec, indexed=False) != []


def test_they_go_online(site: Site) -> None:
    site.deploy(built(SOURCE, STATE), build=stage_views)
    fewer = built(SOURCE[1:2], STATE[:1])
    found = site.changes(site.compile(fewer))
    assert [c.kind for c in found] == [Kind.DROP_INDEX] * 3
    site.deploy(fewer, build=stage_views)
    assert named(site) == {("raw", "ix_minmax_id"), ("raw", "ix_minmax_size"), ("state", "ix_text_text")}
