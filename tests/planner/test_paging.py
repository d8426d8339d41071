"""Lambdas that answer in pages: which orders tell all rows apart, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from realtime.planner.ir import LambdaSpec
from realtime.planner.planner import Outcome, plan_project
from tests.planner.small import Declared, planned, project, unique
from tests.planner.test_lambdas import written

SOURCES = {
    "app.events": Declared(
        {"id": "VARCHAR", "k": "VARCHAR", "n": "BIGINT", "f": "DOUBLE", "tags": "VARCHAR[]", "seen_at": "TIMESTAMP"},
        not_null=("id", "k"),
    ),
    "app.users": Declared(
        {"id": "VARCHAR", "version": "BIGINT", "name": "VARCHAR"},
        options={"mode": "upsert", "key": "id", "version": "version"},
    ),
}
MODELS = {
    "staged": "select *, lower(k) as low from {{ source('app', 'events') }}",
    "per_k": "select k, n, count(*) as c from {{ ref('staged') }} group by k, n",
    "per_f": "select f, count(*) as c from {{ ref('staged') }} group by f",
    "newest": """select k, id, n from {{ source('app', 'events') }}
        qualify row_number() over (partition by k order by seen_at desc, id desc) = 1""",
    "named": "select u.id as user_id, u.name from {{ source('app', 'users') }} as u",
    "ranked": "select k, n, c, rank() over (order by c) as r from {{ ref('per_k') }}",
    "doubled": "select * from {{ ref('per_k') }} union all select * from {{ ref('per_k') }}",
}
TESTS = (unique("source.t.app.events", "id"), unique("model.t.staged", "n"))
TOTAL = [
    "select id, n from {{ ref('staged') }} order by n desc nulls first, id",
    "select k from {{ ref('staged') }} order by f, upper(k), id",
    "select * from {{ ref('per_k') }} order by c, k, n",
    "select c, n from {{ ref('per_k') }} where k = {{ param('k', 'varchar') }} and c > 1 order by c, n",
    "select c from {{ ref('per_k') }} where k = 'a' and 7 = n order by c",
    "select c, f from {{ ref('per_f') }} where f = {{ param('n', 'bigint') }} order by c",
    "select k, count(*) as c from {{ ref('staged') }} group by k order by c desc, 1",
    "select lower(k) as l, sum(n) as s from {{ ref('staged') }} group by all order by s, lower(k)",
    "select distinct k, n from {{ ref('staged') }} order by all",
    "select count(*) as c from {{ ref('staged') }} order by c",
    "select k, n from {{ ref('newest') }} order by n, k",
    "select * from {{ ref('ranked') }} order by r, k, n",
    "select user_id from {{ ref('named') }} order by user_id desc",
    "select k from {{ ref('staged') }} union select user_id from {{ ref('named') }} order by k",
    "with e as (select id as event, k from {{ ref('staged') }}) select e.* from e order by event",
    "select s.id, u.name from {{ ref('staged') }} s left join {{ ref('named') }} u on s.k = u.user_id order by s.id",
    "select s.id, u.name from {{ ref('staged') }} s join {{ ref('named') }} u on s.k < u.name order by s.id, u.user_id",
    "select s.id, a.c from {{ ref('staged') }} s, (select count(*) as c from {{ ref('per_k') }}) a order by c, id",
    "select 'a' as kind, k, n, c from {{ ref('per_k') }} union all select 'b', id, n, 1 from {{ ref('staged') }}"
    " order by kind, n, k",
    "select * from (select 1 as branch, k, n from {{ ref('per_k') }} union all (select 2, k, n from {{ ref('newest') }}"
    " union all select 3, user_id, null from {{ ref('named') }})) order by branch, k, n",
    "with both_of as (select id, 'a' as of from {{ ref('staged') }} where id > 'c'"
    " union all select id, 'b' from {{ ref('staged') }} where id = {{ param('id', 'varchar') }})"
    " select id, of from both_of where of = 'a' order by id",
    "select s.id, u.name from {{ ref('staged') }} s full join {{ ref('named') }} u on u.user_id = s.k"
    " order by s.id, u.user_id",
    "select coalesce(s.id, u.user_id) as id, s.n, u.name from {{ ref('staged') }} s"
    " full join {{ ref('named') }} u on u.user_id = s.id order by coalesce(s.id, u.user_id)",
    "select id, s.n, u.name from {{ ref('staged') }} s full join (select user_id as id, name from {{ ref('named') }}) u"
    " using (id) order by id",
    "select s.k, u.user_id, u.name from {{ ref('newest') }} s right join {{ ref('named') }} u on s.k = u.name"
    " order by u.user_id",
    "select s.id, u.user_id from {{ ref('staged') }} s right join {{ ref('named') }} u on s.k = u.name"
    " order by u.user_id, s.id",
    "select s.id, u.name from {{ ref('staged') }} s, {{ ref('named') }} u where u.user_id = s.k order by s.id",
    "select k, id from (select *, row_number() over (partition by k order by n, id) as place from {{ ref('staged') }})"
    " where place = 1 order by k",
    "with ranked as (select k, id, row_number() over (partition by k order by n, id) as place from {{ ref('staged') }})"
    " select id, k, place from ranked where place <= 3 order by place, k",
    "select k, id from {{ ref('staged') }} qualify row_number() over (partition by k order by n, id) = 1 order by k",
]
REFUSED = [
    ("select id from {{ ref('staged') }}", "there is no ORDER BY", "write ORDER BY id"),
    ("select id, n from {{ ref('staged') }} order by n", "does not tell all rows apart", "add id at its end"),
    ("select n from {{ ref('staged') }} order by n, lower(id)", "does not tell all rows apart", "add id at its end"),
    ("select k, c from {{ ref('per_k') }} where n > 1 order by k", "does not tell all rows apart", "add n at its end"),
    ("select k, c from {{ ref('per_k') }} where k = {{ param('k', 'varchar') }} or c = 1 order by c, n",
     "does not tell all rows apart", "add k at its end"),
    ("select * from {{ ref('doubled') }} order by all", "not known to tell all rows apart", "`unique` and `not_null`"),
    ("select id, unnest(tags) as tag from {{ ref('staged') }} order by id", "not known to tell", "group by them"),
    ("select s.id from {{ ref('staged') }} s join {{ ref('per_k') }} p on p.k = s.k order by s.id",
     "does not tell all rows apart", "add k, n at its end"),
    ("select s.id from {{ ref('staged') }} s full join {{ ref('named') }} u on u.user_id = s.k order by s.id, u.name",
     "does not tell all rows apart", "add user_id at its end"),
    ("with p as (select n, count(*) as c from {{ ref('per_k') }} group by n)"
     " select a.n, b.n as m from p a full join p b on a.n = b.n order by all", "not known to tell", "group by them"),
    ("with p as (select n, count(*) as c from {{ ref('per_k') }} group by n)"
     " select coalesce(a.n, b.n) as n from p a full join p b on a.n = b.n order by n",
     "not known to tell", "group by them"),
    ("select id, k from {{ ref('staged') }} where n = {{ param('f', 'double') }} order by k",
     "does not tell all rows apart", "add id at its end"),
    ("select s.id from {{ ref('staged') }} s join {{ ref('staged') }} t on t.n = s.f order by s.id",
     "does not tell all rows apart", "add id at its end"),
    ("select coalesce(s.id, u.user_id) as i from {{ ref('staged') }} s full join {{ ref('named') }} u"
     " on u.user_id = s.id and s.n > 1 order by i", "does not tell all rows apart", "add id, user_id at its end"),
    ("select a.c, b.c as d from (select count(*) as c from {{ ref('staged') }}) a"
     " full join (select count(*) as c from {{ ref('named') }}) b on a.c = b.c order by all",
     "not known to tell", "group by them"),
    ("select s.id, u.user_id from {{ ref('staged') }} s right join {{ ref('named') }} u on s.k = u.name"
     " order by u.user_id", "does not tell all rows apart", "add id at its end"),
    ("select a.id, b.k from {{ ref('staged') }} a, {{ ref('newest') }} b, {{ ref('newest') }} c"
     " where b.k = c.k and c.k = b.k order by a.id", "does not tell all rows apart", "add k at its end"),
    ("select 'a' as kind, k, n from {{ ref('per_k') }} union all select 'a', k, n from {{ ref('per_k') }} order by all",
     "not known to tell", "group by them"),
    ("select 1 as kind, k, n from {{ ref('per_k') }} union all select '1', k, n from {{ ref('per_k') }} order by all",
     "not known to tell", "group by them"),
    ("select 1 as kind, n, f from (select n, max(f) as f from {{ ref('staged') }} group by n)"
     " union all select 2, f, f from {{ ref('per_f') }} order by all", "not known to tell", "group by them"),
    ("select 'a' as kind, k, n from {{ ref('per_k') }} union all select 'b', k, n from {{ ref('per_k') }}"
     " order by kind, k", "does not tell all rows apart", "add n at its end"),
    ("select k, id from (select *, rank() over (partition by k order by n) as place from {{ ref('staged') }})"
     " where place = 1 order by k", "does not tell all rows apart", "add id at its end"),
    ("select id from {{ ref('staged') }} order by id limit 5", "LIMIT of a lambda that answers in pages", "page_size"),
    ("select id from {{ ref('staged') }} order by id offset 5", "OFFSET of a lambda", "page_size"),
    ("select distinct on (k) k, n from {{ ref('staged') }} order by k, n, id", "DISTINCT ON of a lambda", "QUALIFY"),
    ("select id from {{ ref('staged') }} where n = {{ param('cursor', 'bigint') }} order by id",
     "cursor is a parameter of its own", "call it otherwise"),
    ("select tags, count(*) as c from {{ ref('staged') }} group by tags order by tags", "VARCHAR[] has another order",
     "order by a cast"),
]  # fmt: skip


def _planned(sql: str, **options: Any) -> Outcome:
    built = project(
        SOURCES, MODELS, queries={"q": written(sql)}, examples={"paging": {"size": 2}, **options}, tests=TESTS
    )
    return plan_project(built, "x")


def _spec(sql: str, **options: Any) -> LambdaSpec:
    outcome = _planned(sql, **options)
    assert not outcome.refusals, "\n".join(map(str, outcome.refusals))
    return outcome.plan.lambdas[0]


@pytest.mark.parametrize("sql", TOTAL)
def test_an_order_that_tells_all_rows_apart(sql: str) -> None:
    found = _spec(sql)
    assert found.paging is not None
    assert (found.paging.size, found.paging.most) == (2, 1000)
    assert [p.name for p in found.params][-2:] == ["page_size", "cursor"]
    assert not any(c.name.startswith("__duet") for c in found.columns)


@pytest.mark.parametrize(("sql", "reason", "remedy"), REFUSED)
def test_what_is_refused(sql: str, reason: str, remedy: str) -> None:
    (error,) = _planned(sql).refusals
    said, _, then = str(error).partition("→")
    assert "lambdas/q.sql" in said
    assert reason in said
    assert remedy in then


def test_a_version_says_how_large_pages_are() -> None:
    sql = TOTAL[0]
    plain = project(SOURCES, MODELS, queries={"q": written(sql)}, tests=TESTS)
    versions = [planned(plain, "x").lambdas[0].version]
    versions += [_spec(sql, paging=p).version for p in (True, {"size": 3}, {"size": 3, "max": 9})]
    assert len(set(versions)) == 4
    assert _spec(sql, paging=False).version == versions[0]
