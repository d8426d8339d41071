"""Lambdas that may be approximate: the index gives candidates, everything else is exact; and what is refused."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.planner.ir import LambdaSpec, Plan
from realtime.planner.planner import plan_project
from realtime.project.manifest import Project
from tests.planner.small import Declared, Deployed, planned, project

SIZE, K, MANY = 16, 10, 4_000
COSINE = [{"columns": "v", "type": "vector"}]
EUCLIDEAN = [{"columns": "v", "type": "vector", "distance": "euclidean"}]
UPSERT = {"mode": "upsert", "key": ["room", "id"], "version": "version", "deleted": "gone"}
DOCS = {"id": "bigint", "room": "varchar", "version": "bigint", "gone": "boolean", "v": f"float[{SIZE}]"}
SOURCES = {
    "app.items": Declared({"id": "bigint", "room": "varchar", "v": f"float[{SIZE}]"}, options={"indexes": COSINE}),
    "app.docs": Declared(DOCS, options={**UPSERT, "indexes": EUCLIDEAN}),
}
MODELS = {
    "items": "select id, room, v as vector from {{ source('app', 'items') }} where room <> 'hidden'",
    "docs": "select id, room, v from {{ source('app', 'docs') }} where room <> 'hidden'",
    "rooms": "select room, count(*) as n, max(id) as id from {{ source('app', 'items') }} group by room",
}
Q = f'CAST($q /* duet.param {{"name": "q", "type": "float[{SIZE}]"}} */ AS float[{SIZE}])'
KIND = 'CAST($room /* duet.param {"name": "room", "type": "varchar"} */ AS varchar)'
COUNT = 'CAST($k /* duet.param {"name": "k", "type": "bigint"} */ AS bigint)'
ITEMS = f"select id, array_cosine_distance(vector::double[{SIZE}], {Q}) as d from {{{{ ref('items') }}}}"
DISTANCE = f"array_distance({Q}::double[{SIZE}], v)"
QUERIES = {
    "items_nearest": f"{ITEMS} order by d, id limit {K}",
    "items_of_room": f"{ITEMS} where room = {KIND} order by d, id limit {K}",
    "items_by_cte": f"with a as ({ITEMS}) select * from a where d < 2 order by d, id limit {COUNT} offset 3",
    "items_joined": f"""select i.id, r.n from {{{{ ref('items') }}}} as i join {{{{ ref('rooms') }}}} as r using (room)
        order by array_cosine_distance(i.vector::double[{SIZE}], {Q}), i.id limit {K}""",
    "docs_nearest": f"select room, id, {DISTANCE} as d from {{{{ ref('docs') }}}} order by d, room, id limit {K}",
    "docs_of_room": f"""select room, id, {DISTANCE} as d from {{{{ source('app', 'docs') }}}} where room = {KIND}
        order by 3, id limit {K}""",
}
Rows = list[dict[str, Any]]


def of(queries: Mapping[str, str], sources: Mapping[str, Declared], *, approximate: bool) -> Project:
    return project(sources, MODELS, queries=queries, examples={"approximate": approximate})


@pytest.fixture(scope="module")
def exact_and_approximate() -> tuple[Project, Project]:
    return tuple(of(QUERIES, SOURCES, approximate=a) for a in (False, True))  # type: ignore[return-value]


@pytest.fixture
def plans(database: str, exact_and_approximate: tuple[Project, Project]) -> tuple[Plan, Plan]:
    exact, approximate = (planned(p, database) for p in exact_and_approximate)
    return exact, approximate


def vectors(dice: random.Random, count: int) -> list[list[float]]:
    """Vectors around some centers, as those of texts are."""
    centers = [[dice.gauss(0, 1) for _ in range(SIZE)] for _ in range(20)]
    return [[x + dice.gauss(0, 0.4) for x in dice.choice(centers)] for _ in range(count)]


def asked(client: ClickHouse, spec: LambdaSpec, q: list[float], mark: str = "") -> Rows:
    """The lambda's rows, as servers ask for them."""
    parameters = {"q": q, **{p.name: {"room": "rare", "k": K}[p.name] for p in spec.params[1:]}}
    if spec.nearest is not None:
        found = client.rows(spec.nearest.select, parameters, {"log_comment": mark})
        assert (spec.nearest.rows, spec.nearest.param) in ((K, ""), (0, "k"))
        if len(found) >= K:
            return found
    return client.rows(spec.select, parameters, {"log_comment": mark if spec.nearest is None else ""})


def searches(client: ClickHouse, database: str) -> dict[str, int]:
    """How often each query that was marked with a name searched a vector index."""
    client.execute("SYSTEM FLUSH LOGS query_log")
    rows = client.rows(
        "SELECT log_comment AS name, max(ProfileEvents['USearchSearchCount']) AS n FROM system.query_log "
        f"WHERE startsWith(log_comment, '{database}') AND type = 'QueryFinish' GROUP BY name"
    )
    return {row["name"].partition(" ")[2]: row["n"] for row in rows}


def filled(clickhouse: ClickHouse, plan: Plan) -> Deployed:
    """Items in two parts; documents of which most have older versions and some are deleted."""
    deployed, dice = Deployed(plan, clickhouse), random.Random(5)
    rooms = [dice.choice(["a", "b", "c", "hidden"]) if i % 250 else "rare" for i in range(MANY)]
    items = [{"id": i, "room": r, "v": v} for i, (r, v) in enumerate(zip(rooms, vectors(dice, MANY), strict=True))]
    docs = [{**item, "version": 1, "gone": False} for item in items]
    for half in (items[::2], items[1::2]):
        deployed.insert({"app.items": half}, seed=1)
    deployed.insert({"app.docs": docs}, seed=1)
    moved = [{**d, "version": 2, "v": v} for d, v in zip(docs[: MANY // 2], vectors(dice, MANY), strict=False)]
    deployed.insert({"app.docs": moved}, seed=1)
    deployed.insert({"app.docs": [{**d, "version": 3, "gone": True} for d in docs[::3]]}, seed=1)
    return deployed


def test_answers_are_those_of_all_rows(clickhouse: ClickHouse, plans: tuple[Plan, Plan]) -> None:
    exact, approximate = plans
    filled(clickhouse, approximate)
    dice = random.Random(9)
    for one, other in zip(exact.lambdas, approximate.lambdas, strict=True):
        assert one.nearest is None
        assert other.nearest is not None
        assert (one.version != other.version, one.select) == (True, other.select)
        found = wanted = 0
        for q in vectors(dice, 20):
            truth = asked(clickhouse, one, q, f"{exact.database} exact {one.name}")
            answer = asked(clickhouse, other, q, f"{exact.database} {one.name}")
            assert len(answer) == len(truth), other.name
            wanted, found = wanted + len(truth), found + sum(row in truth for row in answer)
        assert wanted >= 20 * K
        assert found / wanted > 0.98, other.name
    counted = searches(clickhouse, exact.database)
    assert all(counted[name] and not counted[f"exact {name}"] for name in QUERIES), counted


def test_what_was_deleted_or_replaced_is_never_found(clickhouse: ClickHouse, plans: tuple[Plan, Plan]) -> None:
    deployed = filled(clickhouse, plans[1])
    spec = next(s for s in plans[1].lambdas if s.name == "docs_nearest")
    q = [1.0] * SIZE
    seen: set[tuple[str, int]] = set()
    for turn in range(4, 30):
        answer = asked(clickhouse, spec, q)
        keys = {(row["room"], row["id"]) for row in answer}
        assert len(keys) == K
        assert not keys & seen
        seen |= keys
        gone = [{"room": room, "id": number, "version": turn, "v": q} for room, number in keys]
        half = len(gone) // 2
        far = [{**row, "v": [-1e6] * SIZE, "gone": False} for row in gone[half:]]
        deployed.insert({"app.docs": [{**row, "gone": True} for row in gone[:half]] + far}, seed=turn)


def test_few_rows_and_none(clickhouse: ClickHouse, plans: tuple[Plan, Plan]) -> None:
    deployed = Deployed(plans[1], clickhouse)
    lambdas = {s.name: s for s in plans[1].lambdas}
    assert asked(clickhouse, lambdas["items_nearest"], [1.0] * SIZE) == []
    deployed.insert({"app.items": [{"id": 1, "room": "a", "v": [0.0] * SIZE}]}, seed=1)
    assert [row["id"] for row in asked(clickhouse, lambdas["items_nearest"], [1.0] * SIZE)] == [1]
    assert asked(clickhouse, lambdas["items_of_room"], [1.0] * SIZE) == []


REFUSED = {
    "of one that aggregates": ("select max(id) as n from {{ ref('items') }}", "has no ORDER BY with a LIMIT"),
    "of groups": (
        "select room, max(id) as id from {{ ref('items') }} group by room order by room limit 1", "more than one plain",
    ),
    "in another order": ("select id from {{ ref('items') }} order by id limit 1", "ordered by no distance first"),
    "of the farthest": (f"{ITEMS} order by d desc limit 3", "or by the farthest"),
    "without a limit": (f"{ITEMS} order by d", "has no ORDER BY with a LIMIT"),
    "of two columns": (
        f"select id from {{{{ ref('items') }}}} order by array_distance(vector::double[{SIZE}], vector) limit 1",
        "not between a source's column and a parameter",
    ),
    "by a distance that has no index": (
        f"select id from {{{{ ref('items') }}}} order by array_distance(vector::double[{SIZE}], {Q}) limit 1",
        "source app.items has no vector index on v for array_distance\n  → add to the source's `indexes`: "
        "{columns: v, type: vector, distance: euclidean}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str) -> None:
    sql, message = REFUSED[what]
    (refusal,) = plan_project(of({"l": sql}, SOURCES, approximate=True), "d").refusals
    assert message in str(refusal)


def test_a_plan_can_be_read_back(plans: tuple[Plan, Plan]) -> None:
    assert msgspec.json.decode(msgspec.json.encode(plans[1]), type=Plan) == plans[1]
