"""States that carry failures: the answer is an error exactly where the batch run errs, and equal to it elsewhere."""

from __future__ import annotations

import random
from typing import Any

import duckdb
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.errors import CommandError
from realtime.planner.ir import Step
from realtime.planner.planner import plan_project
from realtime.project.manifest import Project
from tests.planner.small import Deployed, Row, Rows, in_duckdb, planned, project
from tests.planner.sources import COLUMNS, SOURCES

SOURCE = "from {{ source('app', 'events') }}"
MORE = "from {{ source('app', 'more') }}"
# Each is kept on insert although it may fail on a row.
MODELS = {
    "revenue": f"select g, sum(n * price) as v {SOURCE} group by g",
    "squares": f"select g, sum(n * n) as v, count(*) as rows_ {SOURCE} group by g having count(*) > 1",
    "one_row": f"select max(n + 1) as v, count(n) as c {SOURCE}",
    "divided": f"select g, sum(big // n) as v, sum(big % n) as m {SOURCE} group by g",
    "numbers": f"select g, sum(cast(k as integer)) as v, max(cast(k as decimal(4, 1))) as d {SOURCE} group by g",
    "moments": f"select g, max(cast(k as date)) as d, min(cast(k as timestamp)) as t {SOURCE} group by g",
    "more_text": f"select g, bool_or(cast(k as boolean)) as b, max(cast(k as double)) as x {SOURCE} group by g",
    "ids": f"select g, count(distinct cast(k as uuid)) as v {SOURCE} group by g",
    "narrowed": f"select g, sum(cast(big as integer)) as v, max(cast(price as decimal(4, 1))) as p {SOURCE} group by g",
    "floats": f"select g, sum(cast(x as integer)) as v {SOURCE} group by g",
    "negated": f"select g, max(-n) as v, max(abs(n)) as a {SOURCE} group by g",
    "filtered": f"select g, count(*) as v {SOURCE} where cast(k as integer) > 3 group by g",
    "branches": f"select g, sum(case when n > 0 then big // n when cast(k as integer) = 1 then n end) as v {SOURCE} "
    "group by g",
    "known_first": f"select g, sum(coalesce(n, cast(k as integer))) as v {SOURCE} group by g",
    "with_filter": f"select g, sum(cast(k as integer)) filter (where n > 0) as v {SOURCE} group by g",
    "below": f"with s as (select g, n, cast(k as integer) as i {SOURCE}) select g, sum(case when n > 0 then i end) "
    "as v from s group by g",
    "both_sides": f"select g, count(*) as v {SOURCE} where cast(k as integer) > 3 and n + n > 0 group by g",
    "one_side": f"select g, count(*) as v {SOURCE} where n > 0 and cast(k as integer) > 3 group by g",
    "either_side": f"select g, count(*) as v {SOURCE} where n > 0 or cast(k as integer) > 3 group by g",
    "below_filtered": f"with s as (select g, n, cast(k as integer) as i {SOURCE}) select g, sum(i) as v from s "
    "where n > 0 group by g",
    "filter_below": f"with s as (select g, n {SOURCE} where cast(k as integer) > 3) select g, sum(n) as v from s "
    "where n > 0 group by g",
    "filter_of_column": f"with s as (select g, cast(k as integer) as i {SOURCE}) select g, count(*) as v from s "
    "where i > 3 group by g",
    "unused": f"with s as (select g, n, cast(k as integer) as i {SOURCE}) select g, sum(n) as v from s group by g",
    "branches_of_union": f"select g, sum(v) as v from (select g, n + 1 as v {SOURCE} union all select g, n {MORE}) u "
    "group by g",
    "moved": f"select g, max(timestamp '2018-05-02' + big * interval 1 second) as v {SOURCE} group by g",
    "ordered": f"select g, list(cast(k as integer) order by id) as v, arg_max(n + 1, id) as m, "
    f"list(distinct n order by n) as d {SOURCE} group by g",
}
# DuckDB picks the order of the sides as it runs: where it meets the failing side first, real time may know better.
_IN_ANY_ORDER = ("both_sides", "one_side", "either_side")
_UUID = "6b1f3bd4-4b1a-4d0f-8a56-0a6d4a6a3f10"
_TEXTS = ["1", "12", "+7", "3.5", "2024-02-29", "2024-02-29 01:02:03", "true", "", "x", "99999999999", _UUID]
_FEW: dict[str, list[Any]] = {
    "k": _TEXTS,
    "n": [1, 0, -1, 2**31 - 1, -(2**31), -(2**31)],
    "big": [1, 7, 2**63 - 1, -(2**63)],
    "g": [1, 2, 3],
    "price": ["1.25", "99999999.99", "-0.01"],
    "x": [0.5, 1.5, 1e300, -1e300],
}


_WILD = ("", "k", "n price", "big x price", "n", "k", "k n", "n price", "big n x", "2024-02-29", _UUID)
"""Of each round the columns that hold what fails; it is the first two values of the others that never do.
Or the text that ``k`` holds."""


def _rows(prefix: str, wild: str, chance: random.Random) -> list[Row]:
    rows = []
    texts = {"k": [wild]} if wild in _TEXTS else {}
    for number in range(chance.randint(2, 6)):
        few = {c: chance.choice([None, *(v if c in wild.split() else v[:2])]) for c, v in {**_FEW, **texts}.items()}
        rows.append({**dict.fromkeys(COLUMNS), **few, "id": f"{prefix}{number}"})
    return rows


def test_an_error_exactly_where_batch_errs(clickhouse: ClickHouse, database: str) -> None:
    built = project(SOURCES, MODELS)
    plan = planned(built, database)
    assert {s.model: s.shape for s in plan.steps if s.shape != "aggregate"} == {}
    deployed = Deployed(plan, clickhouse)
    alone = {name: project(SOURCES, {name: sql}) for name, sql in MODELS.items()}
    seen: set[str] = set()
    for seed, wild in enumerate(_WILD):
        chance = random.Random(seed)
        rows = {"app.events": _rows("e", wild, chance), "app.more": [{"id": "m", "k": "", "g": 2, "n": 2**31 - 1}]}
        deployed.empty()
        deployed.insert(rows, seed)
        for step in plan.steps:
            found, expected = _in_realtime(deployed, step), _in_batch(alone[step.model], rows)
            if expected is not None or step.model not in _IN_ANY_ORDER:
                assert found == expected, f"{step}\n{rows}\n{step.states[0].views[0].select}"
            seen.add(f"{step.model} {'failed' if found is None else 'equal'}")
    assert {f"{m} {what}" for m in MODELS for what in ("failed", "equal")} - seen == {"unused failed"}


def _in_realtime(deployed: Deployed, step: Step) -> Any:
    """What the read view gives; None where it raises, and says of which model."""
    try:
        return deployed.read(step)
    except CommandError as error:
        return None if f"model {step.model}: " in str(error) else error


def _in_batch(built: Project, rows: Rows) -> Any:
    """What the model of ``built`` gives in DuckDB; None where it errs."""
    try:
        (found,) = in_duckdb(built, rows).values()
    except duckdb.Error:
        return None
    return found


def _row(**given: Any) -> Row:
    return {**dict.fromkeys(COLUMNS), **given}


def test_groups_without_failures_are_read_and_no_way_leads_around_the_error(
    clickhouse: ClickHouse, database: str
) -> None:
    built = project(SOURCES, {"m": f"select g, sum(n + 1) as v, count(*) as c {SOURCE} group by g"})
    plan = planned(built, database)
    deployed = Deployed(plan, clickhouse)
    rows = [_row(id="1", g=1, n=1), _row(id="2", g=2, n=2**31 - 1), _row(id="3", g=2, n=1)]
    deployed.insert({"app.events": rows}, seed=3)
    view = plan.steps[0].relation
    assert clickhouse.value(f"SELECT v FROM {view} WHERE g = 1") == 2
    reads = ("sum(v)", "count()", "max(g)", "sum(c)")
    for condition in ("1", "g = 2", "v > 100", "c > 100", "g >= 2 AND v < 0", "v IS NULL"):
        for read in reads:
            with pytest.raises(CommandError, match="model m: arithmetic or a cast that may overflow failed on a row"):
                clickhouse.value(f"SELECT {read} FROM {view} WHERE {condition}")
    with pytest.raises(CommandError, match="model m: "):
        clickhouse.rows(f"SELECT g FROM {view} ORDER BY g LIMIT 1 BY g")


READ_ONLY = {
    "a key": f"select cast(k as integer) as i, count(*) as n {SOURCE} group by 1",
    "a key from below": f"select i, count(*) as n from (select cast(k as integer) as i {SOURCE}) s group by i",
    "distinct rows": f"select distinct n + 1 as v {SOURCE}",
    "the newest row": f"select id, n + 1 as v {SOURCE} qualify row_number() over (partition by g order by id) = 1",
    "what has no other form": f"select g, max(repeat(k, n)) as v {SOURCE} group by g",
    "a column of its name": f"select g, sum(_failed) as v from (select g, n + 1 as _failed {SOURCE}) s group by g",
}


@pytest.mark.parametrize("which", READ_ONLY)
def test_what_can_not_be_counted_is_computed_when_read(which: str) -> None:
    (step,) = planned(project(SOURCES, {"m": READ_ONLY[which]}), "x").steps
    assert (step.shape, step.states) == ("read", ())
    assert "must not happen on insert" in step.why


def test_a_mode_that_can_not_be_had_is_refused() -> None:
    built = project(SOURCES, {"m": READ_ONLY["a key"]}, options={"m": {"mode": "aggregate"}})
    (error,) = plan_project(built, "x").refusals
    assert "asks for aggregate, but the model is read" in str(error)
    assert "cast to a wider type first" in str(error)
