"""A backfill of rows that the landing table no longer holds."""

from __future__ import annotations

import time

import pytest

from realtime.deploy.apply import deploy
from realtime.deploy.lake import load_lakes
from realtime.deploy.ledger import Ledger, Work
from realtime.deploy.options import Options
from realtime.deploy.promote import stage_views
from realtime.emit.names import quoted
from realtime.errors import ConfigError
from realtime.ingest.export import export
from realtime.planner.ir import Plan
from tests.deploy.conftest import Site, project, source

COLUMNS = {
    "id": "bigint",
    "raw": "varchar",
    "big": "hugeint",
    "at": "timestamp",
    "price": "decimal(12,3)",
    "tags": "varchar[]",
    "name": "varchar",
}
GROUPS = (
    'select raw, big, "at", price, tags, name, count(*) as n{more} from memory.chat.messages '
    'group by raw, big, "at", price, tags, name'
)
ROWS = """
(1, '00ff', -170141183460469231731687303715884105728, '1950-01-01 00:00:00.000001', -1.125, ['a', NULL], 'é'),
(2, '00ff', -170141183460469231731687303715884105728, '1950-01-01 00:00:00.000001', -1.125, ['a', NULL], 'é'),
(3, NULL, NULL, NULL, NULL, [], NULL), (4, '', 0, '2299-12-31 23:59:59.999999', 0, [''], '')"""
ALL = "SELECT * FROM {db}.amounts ORDER BY ALL"


def test_rows_that_a_ttl_has_deleted_come_from_the_lake_once(site: Site) -> None:
    chat = source(COLUMNS, ttl="_ingested_at + INTERVAL 2 SECOND")
    plan = site.deploy(project({"amounts": GROUPS.format(more="")}, of=chat), build=stage_views)
    landing = plan.sources[0].landing
    site.client.execute(f"SYSTEM STOP TTL MERGES {landing}")
    site.client.execute(f"INSERT INTO {landing} ({', '.join(COLUMNS)}) VALUES {ROWS}")
    before = site.rows(ALL)
    assert sorted(row[-1] for row in before) == [1, 1, 2]
    changed = site.compile(project({"amounts": GROUPS.format(more=", max(id) as newest")}, of=chat))
    with pytest.raises(ConfigError, match="loses what can't be had back: create state"):
        deploy(site.settings, changed, site.client, site.said.append, build=stage_views)
    (exported,) = export(site.settings, plan, site.client)
    assert exported.rows == 4
    _left_in_the_middle(site, changed)
    # Some rows are still in the landing table and in the lake, one is in the landing table alone.
    time.sleep(2)
    (again,) = export(site.settings, plan, site.client)
    assert exported.expired + again.expired == 4
    assert site.rows(f"SELECT count() FROM {landing}") == [(0,)]
    site.client.execute(f"SYSTEM STOP MERGES {landing}")
    site.client.execute(f"INSERT INTO {landing} (id, tags, name) VALUES (5, [], 'late')")
    deploy(site.settings, changed, site.client, site.said.append, Options.load(site.settings), stage_views)
    assert [row[:-1] for row in site.rows(ALL) if row[5] != "late"] == before
    assert sorted(row[-1] for row in site.rows(ALL)) == [2, 3, 4, 5]
    assert "backfill of amounts: 5 rows, 4 of them from the lake" in site.said
    assert not [name for name in site.names("_raw") if name.endswith("__lake")]


NESTED = {
    "numbers": "hugeint[]",
    "times": "time[][]",
    "parts": "struct(t time, l struct(h uhugeint, v varchar)[])",
    "days": "map(varchar, struct(t time[], d date)[])",
    "'odd' \"one\"": "map(varchar, uhugeint)[]",
    "plain": "map(varchar, integer[])",
}
DEEP = """
(1, [-170141183460469231731687303715884105728, NULL], [['23:59:59.999999', NULL], []],
  ('00:00:00.000001', [(340282366920938463463374607431768211455, 'é\\'"'), (NULL, NULL)]),
  {'-1': [(['12:00:00'], '1950-02-03'), ([], NULL)], '5': []}, [{'é': 7}, {}], {'x': [1, NULL]}),
(2, [], [], (NULL, []), {}, [], {})"""


def test_values_inside_of_others_are_read_back(site: Site) -> None:
    chat = source({"id": "bigint", **NESTED}, ttl="_ingested_at + INTERVAL 1 DAY")
    plan = site.deploy(
        project({"counted": "select count(*) as n from memory.chat.messages"}, of=chat), build=stage_views
    )
    landing, names = plan.sources[0].landing, ", ".join(quoted(name) for name in ("id", *NESTED))
    site.client.execute(f"INSERT INTO {landing} ({names}) VALUES {DEEP}")
    export(site.settings, plan, site.client)
    work = Work(site.client, Ledger(site.client, site.database), site.said.append, lambda: None, "read")
    (lake,) = load_lakes(work, site.settings, plan.sources).values()
    select = f"SELECT toTypeName(tuple(*)), * FROM (SELECT {names} FROM {{}}) ORDER BY id FORMAT Values"
    found = site.client.bytes(select.format(lake.table))
    assert found == site.client.bytes(select.format(landing))
    assert b"23:59:59.999999" in found


def _left_in_the_middle(site: Site, plan: Plan) -> None:
    """The lake's table as a killed deploy leaves it, or a wrong one: a row is missing and others are there twice."""
    work = Work(site.client, Ledger(site.client, site.database), site.said.append, lambda: None, "killed")
    (lake,) = load_lakes(work, site.settings, plan.sources).values()
    site.client.execute(f"DELETE FROM {lake.table} WHERE id = 1")
    site.client.execute(f"INSERT INTO {lake.table} SELECT * FROM {lake.table} WHERE id < 4")
    assert site.rows(f"SELECT count() FROM {lake.table}") != [(4,)]
