"""Vectors of a fixed size: distances are the same in both engines, and the nearest the same rows in the same order."""

from __future__ import annotations

import math
import random
import struct

import duckdb
import pytest

from realtime.clickhouse.client import ClickHouse
from tests.planner.small import Declared, Deployed, planned, project

NAMES = ("array_inner_product", "array_negative_inner_product", "array_cosine_distance", "array_cosine_similarity")


def single(value: float) -> float:
    """``value`` as a FLOAT holds it."""
    found: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return found


def vector(dice: random.Random, size: int, magnitude: int) -> list[float]:
    return [single(dice.gauss(0, 1) * 10.0 ** dice.randint(-magnitude, magnitude)) for _ in range(size)]


def pairs(size: int) -> list[tuple[list[float], list[float]]]:
    """Pairs of all kinds: random ones, of all magnitudes, equal, opposite, parallel ones, zeros, greatest numbers."""
    dice = random.Random(size)
    found = [(vector(dice, size, m), vector(dice, size, m)) for m in (0, 15) for _ in range(40)]
    for one, _ in found[::8]:
        found += [(one, one), (one, [-x for x in one]), (one, [single(3 * x) for x in one]), (one, [0.0] * size)]
    greatest, least = struct.unpack("<ff", bytes.fromhex("ffff7f7f01000000"))
    return [*found, ([greatest] * size, [-greatest] * size), ([least] * size, [least] * size), ([0.0] * size,) * 2]


@pytest.mark.parametrize("size", [1, 3, 8, 384, 1536])
def test_distances_are_the_same_to_the_last_bit(clickhouse: ClickHouse, database: str, size: int) -> None:
    calls = [f"{name}(a::double[{size}], b) as {name}" for name in (*NAMES, "array_distance")]
    built = project(
        {"app.pairs": Declared({"id": "bigint", "a": f"float[{size}]", "b": f"float[{size}]"}, not_null=("id",))},
        {"distances": f"select id, {', '.join(calls)} from {{{{ source('app', 'pairs') }}}}"},
    )
    deployed = Deployed(planned(built, database), clickhouse)
    rows = [{"id": i, "a": a, "b": b} for i, (a, b) in enumerate(pairs(size))]
    deployed.insert({"app.pairs": rows}, seed=3)
    batch = duckdb.connect()
    batch.execute(f"CREATE SCHEMA app; CREATE TABLE app.pairs (id BIGINT, a FLOAT[{size}], b FLOAT[{size}])")
    batch.executemany("INSERT INTO app.pairs VALUES (?, ?, ?)", [[r["id"], r["a"], r["b"]] for r in rows])
    (model,) = built.models.values()
    expected = batch.execute(f"SELECT * FROM ({model.sql}) ORDER BY id").fetchall()
    found = clickhouse.rows(f"SELECT * FROM {database}.distances ORDER BY id")
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        mine = [float(value) for value in row.values()]
        for name, ours, theirs in zip(("id", *NAMES), mine, wanted, strict=False):
            assert ours == theirs or (math.isnan(ours) and math.isnan(theirs)), (name, row)
        assert math.isclose(mine[-1], wanted[-1], rel_tol=1e-14)


NEAREST = """
    select
        id,
        array_cosine_distance(
            v::double[4], CAST($q /* duet.param {"name": "q", "type": "float[4]"} */ AS float[4])
        ) as d
    from {{ ref('items') }} where seller <> 'b' order by d, id limit 12"""


def test_the_nearest_are_the_same_rows_in_both_engines(clickhouse: ClickHouse, database: str) -> None:
    sources = {"app.items": Declared({"id": "bigint", "v": "float[4]", "seller": "varchar"}, not_null=("id",))}
    built = project(sources, {"items": "select * from {{ source('app', 'items') }}"}, queries={"nearest": NEAREST})
    plan = planned(built, database)
    deployed = Deployed(plan, clickhouse)
    dice = random.Random(7)
    vectors = [[float(dice.randint(-2, 2)) for _ in range(4)] for _ in range(300)]  # many equal ones, and permutations
    vectors += [[0.1, 0.2, 0.3, 0.4], [1e30, 0, 0, 1e-30], [0.0] * 4]
    rows = [{"id": i, "v": v, "seller": dice.choice("ab")} for i, v in enumerate(vectors)]
    deployed.insert({"app.items": rows}, seed=3)
    batch = duckdb.connect()
    batch.execute("CREATE SCHEMA app; CREATE TABLE app.items (id BIGINT, v FLOAT[4], seller VARCHAR)")
    batch.executemany("INSERT INTO app.items VALUES (?, ?, ?)", [list(row.values()) for row in rows])
    (model,), (spec,) = built.models.values(), plan.lambdas
    batch.execute(f"CREATE VIEW main.items AS {model.sql}")
    assert spec.params[0].type == "FLOAT[4]"
    for wanted in ([1, 0, 0, 0], [1, 1, 2, -1], [0.1, -0.7, 1e-30, 0.3], [1e30, -1e30, 3, 0]):
        expected = batch.execute(spec.batch, {"q": wanted}).fetchall()
        found = [tuple(row.values()) for row in clickhouse.rows(spec.select, {"q": wanted})]
        assert found == expected
        assert len(found) == 12
