"""The k nearest vectors, found by looking at every row: the same rows in the same order in both engines."""

from __future__ import annotations

import random

import duckdb

from realtime.clickhouse.client import ClickHouse
from tests.planner.small import Declared, Deployed, planned, project

SOURCES = {"app.items": Declared({"id": "bigint", "v": "bigint[]", "seller": "varchar"}, not_null=("id",))}
MODELS = {
    "items": """select id, seller, v, list_sum(list_transform(v, lambda x: x * x))::bigint as norm
        from {{ source('app', 'items') }} where len(v) = 4"""
}
Q = 'CAST($q /* duet.param {"name": "q", "type": "bigint[]"} */ AS bigint[])'
# Whole numbers add up exactly in any order; a square root and a division of them are rounded once, everywhere alike.
NEAREST = f"""select id, list_sum(list_transform(v, lambda x, i: x * ({Q})[i]))::double / sqrt(norm::double) as likeness
    from {{{{ ref('items') }}}} where norm > 0 order by likeness desc, id limit 12"""


def test_the_nearest_are_the_same_rows_in_both_engines(clickhouse: ClickHouse, database: str) -> None:
    built = project(SOURCES, MODELS, queries={"nearest": NEAREST})
    plan = planned(built, database)
    deployed = Deployed(plan, clickhouse)
    dice = random.Random(7)
    vectors = [[dice.randint(-2, 2) for _ in range(4)] for _ in range(300)]  # many equal ones, and permutations
    vectors += [[], [1, 2, 3], [10**6, -(10**6), 3, 1], [0, 0, 0, 0]]
    rows = [{"id": i, "v": v, "seller": "s"} for i, v in enumerate(vectors)]
    deployed.insert({"app.items": rows}, seed=3)
    batch = duckdb.connect()
    batch.execute("CREATE SCHEMA app; CREATE TABLE app.items (id BIGINT, v BIGINT[], seller VARCHAR)")
    batch.executemany("INSERT INTO app.items VALUES (?, ?, ?)", [[r["id"], r["v"], r["seller"]] for r in rows])
    (model,), (spec,) = built.models.values(), plan.lambdas
    batch.execute(f"CREATE VIEW main.items AS {model.sql}")
    for wanted in ([1, 0, 0, 0], [1, 1, 2, -1], [0, 0, 0, 0], [2, -2, 2, -2], [10**6, 1, 0, 3]):
        expected = batch.execute(spec.batch, {"q": wanted}).fetchall()
        found = [tuple(row.values()) for row in clickhouse.rows(spec.select, {"q": wanted})]
        assert found == expected
        assert len(found) == 12
