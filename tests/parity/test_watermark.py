"""Parity while rows keep coming: real time is compared as it was at the export, and states as they are now."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.compile import compile_project
from realtime.deploy.apply import deploy
from realtime.deploy.promote import stage_views
from realtime.ingest.export import export
from realtime.ingest.intake import Intake
from realtime.parity.compare import Compared, parity
from realtime.planner.ir import Plan
from realtime.project.batch import run_batch
from realtime.publish.publish import publish
from realtime.settings import Settings
from tests.beside import beside
from tests.landing import PROFILES, PROJECT

COLUMNS = """
          - {name: id, data_type: bigint, data_tests: [not_null]}
          - {name: customer, data_type: varchar}
          - {name: placed_at, data_type: timestamp}
          - {name: amount, data_type: 'decimal(10,2)'}
          - {name: weight, data_type: double}
"""
SOURCES = f"""
sources:
  - name: shop
    tables:
      - name: orders
        config: {{meta: {{realtime: {{event_time: placed_at}}}}}}
        columns:{COLUMNS}
      - name: refunds
        config: {{meta: {{realtime: {{}}}}}}
        columns:{COLUMNS}
      - name: visits
        config: {{meta: {{realtime: {{event_time: placed_at, ttl: 30 days}}}}}}
        columns:{COLUMNS}
      - name: customers
        config: {{meta: {{realtime: {{mode: upsert, key: name, version: version, deleted: gone}}}}}}
        columns:
          - {{name: name, data_type: varchar, data_tests: [unique]}}
          - {{name: country, data_type: varchar}}
          - {{name: version, data_type: bigint}}
          - {{name: gone, data_type: boolean}}
"""
ORDERS, REFUNDS = "{{ source('shop', 'orders') }}", "{{ source('shop', 'refunds') }}"
MODELS = {
    "big_orders": f"select id, customer, amount * 2 as twice from {ORDERS} where amount > 10",
    "per_customer": f"select customer, count(*) as n, sum(amount) as total, avg(weight) as weight,"
    f" max(placed_at) as last_at, median(amount) as middle from {ORDERS} group by customer",
    "newest": f"select * from {ORDERS}"
    " qualify row_number() over (partition by customer order by placed_at desc, id desc) = 1",
    "whole": f"select count(*) as n, sum(amount) as total from {ORDERS}",
    "united": "select customer, amount > 0 as bought, count(*) as n, sum(amount) as total from (select customer, amount"
    f" from {ORDERS} union all select customer, -amount from {REFUNDS}) as united group by 1, 2",
    "visits": "select customer, count(*) as n, min(placed_at) as first_at"
    " from {{ source('shop', 'visits') }} group by customer",
    "countries": "select country, count(*) as n, max(version) as v from {{ source('shop', 'customers') }} group by 1",
    "per_country": "select c.country, sum(o.amount) as total, count(*) as n"
    f" from {ORDERS} as o left join {{{{ source('shop', 'customers') }}}} as c on o.customer = c.name group by 1",
    "ranked": "select *, rank() over (order by total desc, customer) as place from {{ ref('per_customer') }}",
    "gaps": "select id, date_diff('minute', lag(placed_at) over of_customer, placed_at) as minutes"
    f" from {ORDERS} window of_customer as (partition by customer order by placed_at, id)",
    "most": "select max(n) as n, sum(total) as total from {{ ref('per_customer') }}",
    "refreshed": "select customer, n from {{ ref('per_customer') }} where n > 1",
    "codes": "select country, hash(country) as code from {{ ref('countries') }}",
    "coded": "select p.country, p.n, c.code from {{ ref('per_country') }} as p"
    " left join {{ ref('codes') }} as c on p.country = c.country",
}
OPTIONS = {"refreshed": "{mode: refresh, refresh_every: 1 hour}", "codes": "{mode: published}"}
NOW = datetime.now(UTC).replace(tzinfo=None)
STATES = {"per_customer", "newest", "whole", "united", "visits", "per_country"}


class Shop:
    """The project, deployed, and rows by chance."""

    def __init__(self, settings: Settings, endpoint: Endpoint, client: ClickHouse) -> None:
        self.settings, self.endpoint, self.client = settings, endpoint, client
        outcome = compile_project(settings)
        assert outcome.refusals == ()
        self.plan: Plan = outcome.plan
        self._chance, self._id = random.Random(7), 0

    def batches(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Rows for each source in turn, for ever."""
        while True:
            for source in ("orders", "refunds", "visits"):
                yield f"shop.{source}", [self._row() for _ in range(self._chance.randint(1, 4))]
            yield "shop.customers", [self._customer()]

    def _row(self) -> dict[str, Any]:
        self._id += 1
        at = str(NOW - timedelta(seconds=self._chance.randint(0, 10**6)))
        # A customer has few rows, so that many have none since the last export.
        customer = self._chance.choice([None, "c1", f"c{self._id // 20}", f"c{self._id // 20}"])
        amount, weight = self._chance.choice([None, 0, 12.5, -3, self._id]), self._id * 0.1
        return {"id": self._id, "customer": customer, "placed_at": at, "amount": amount, "weight": weight}

    def _customer(self) -> dict[str, Any]:
        self._id += 1
        name = f"c{self._chance.randint(0, 1 + self._id // 20)}"
        row = {"name": name, "version": self._id - self._chance.choice([0, 0, 0, 30])}
        return {**row, "country": self._chance.choice([None, "FI", "SE"]), "gone": self._chance.random() < 0.2}

    async def send(self, count: int = 0, until: threading.Event | None = None) -> int:
        """Sends ``count`` batches, or as many as there is time for; how many rows they had."""
        intake, sent = Intake(self.endpoint, self.plan), 0
        try:
            for number, (source, rows) in enumerate(self.batches()):
                if until.is_set() if until is not None else number >= count:
                    return sent
                body = "\n".join(map(json.dumps, rows)).encode()
                assert (await intake.take(source, body)).quarantined_rows == 0
                sent += len(rows)
            raise AssertionError
        finally:
            await intake.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Rows come all the time until the block ends."""
        with beside(lambda stop: asyncio.run(self.send(until=stop))) as sent:
            yield
        assert sent.result() > 0

    def build(self) -> None:
        """`duet export` and `duet batch`."""
        export(self.settings, self.plan, self.client)
        run_batch(self.settings, self.plan, ("run", "--quiet"))
        publish(self.settings, self.client, [], lambda *_: None)

    def compared(self, *models: str) -> dict[str, Compared]:
        return {found.model: found for found in parity(self.settings, self.plan, self.client, models)}

    def state(self, model: str) -> str:
        """The state of ``model``."""
        (state,) = next(step.states for step in self.plan.steps if step.model == model)
        return state.relation


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, endpoint: Endpoint, clickhouse: ClickHouse) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("live")
    (folder / "models").mkdir()
    (folder / "dbt_project.yml").write_text(PROJECT)
    (folder / "profiles.yml").write_text(PROFILES)
    (folder / "models" / "sources.yml").write_text(SOURCES)
    listed = [f"  - name: {n}\n    config: {{meta: {{realtime: {OPTIONS.get(n, 'true')}}}}}\n" for n in MODELS]
    (folder / "models" / "models.yml").write_text(f"models:\n{''.join(listed)}")
    for name, sql in MODELS.items():
        (folder / "models" / f"{name}.sql").write_text(sql)
    made = Shop(Settings.load(folder, {"CLICKHOUSE_URL": f"{endpoint.url}/live"}), endpoint, clickhouse)
    deploy(made.settings, made.plan, clickhouse, lambda _: None, build=stage_views)
    yield made
    for suffix in ("", "_raw", "_state", "_duet"):
        clickhouse.execute(f"DROP DATABASE live{suffix} SYNC")


@pytest.fixture(scope="module")
def found(shop: Shop) -> dict[str, Compared]:
    """Parity of everything while rows come all the time."""
    asyncio.run(shop.send(400))
    with shop.writing():
        shop.build()
        return shop.compared()


def test_nothing_differs_while_rows_come(found: dict[str, Compared]) -> None:
    assert set(found) == set(MODELS)
    assert [str(c) for c in found.values() if c.differing or c.reason] == []
    assert all(c.rows_batch for c in found.values())
    for model in STATES:
        assert found[model].watermark is not None
        assert found[model].arrived > 0
        assert found[model].changed > 0, model
    assert "keys changed since" in found["per_country"].note
    assert "of refreshed models the query is compared" in found["refreshed"].note
    assert found["codes"].watermark is None or not found["codes"].differing


def test_when_no_rows_come_every_group_is_compared(shop: Shop, found: dict[str, Compared]) -> None:
    again = shop.compared()
    assert [str(c) for c in again.values() if c.differing or c.reason] == []
    assert {c.left_out for c in again.values()} == {0}
    assert again["per_customer"].changed >= found["per_customer"].changed


def _spoil(shop: Shop, model: str, group: str) -> None:
    """Adds the rows of ``group`` to the state of ``model`` once more, as old ones."""
    state = shop.state(model)
    shop.client.execute(
        f"INSERT INTO {state} SELECT * REPLACE (toDateTime64('2018-01-01', 6, 'UTC') AS _updated_at) FROM {state} AS s "
        f"WHERE {group}",
        settings={"insert_deduplicate": 0},
    )


def test_a_state_that_is_wrong_is_found(shop: Shop, found: dict[str, Compared]) -> None:
    assert found
    _spoil(shop, "per_customer", "s.customer = 'c2'")  # it has long been at rest
    with shop.writing():
        wrong = shop.compared("per_customer", "ranked", "whole")
    assert {e.side for e in wrong["per_customer"].examples} == {"batch", "realtime"}
    assert {e.row["customer"] for e in wrong["per_customer"].examples} == {"c2"}
    assert wrong["ranked"].differing >= 2
    assert not wrong["whole"].differing


def test_a_state_that_is_wrong_in_a_group_that_changed_is_found(shop: Shop, found: dict[str, Compared]) -> None:
    assert found["per_customer"].changed > 0
    _spoil(shop, "per_customer", "s.customer = 'c1'")  # it gets rows all the time
    for asked in ("per_customer", "ranked"):
        (wrong,) = shop.compared(asked).values()
        assert {e.side for e in wrong.examples} >= {"landing rows", "state"}
        assert "c1" in {e.row["customer"] for e in wrong.examples}
    (whole,) = shop.compared("whole").values()
    assert (whole.differing, whole.changed, whole.left_out) == (0, 1, 0)


def test_rows_that_a_ttl_deleted_come_from_the_lake(shop: Shop, found: dict[str, Compared]) -> None:
    assert found
    shop.build()
    # As an export does once they have expired.
    shop.client.execute("ALTER TABLE live_raw.shop__visits DELETE WHERE id % 2 = 0", settings={"mutations_sync": 2})
    asyncio.run(shop.send(12))
    (compared,) = shop.compared("visits").values()
    assert (compared.differing, compared.reason, compared.left_out) == (0, "", 0)
    assert compared.changed > 0


def test_rows_that_reached_no_state_are_found(shop: Shop, found: dict[str, Compared]) -> None:
    """Their group has not changed since the watermark, as the state has it."""
    assert found
    shop.build()
    view = f"{shop.state('visits')}__mv"
    shop.client.execute(f"DETACH TABLE {view} SYNC")
    lost = {"id": -1, "customer": "c3", "placed_at": str(NOW), "amount": 1, "weight": 1}

    async def send() -> None:
        intake = Intake(shop.endpoint, shop.plan)
        assert (await intake.take("shop.visits", json.dumps(lost).encode())).successful_rows == 1
        await intake.close()

    asyncio.run(send())
    shop.client.execute(f"ATTACH TABLE {view}")
    (wrong,) = shop.compared("visits").values()
    assert (wrong.changed, wrong.left_out) == (1, 0)
    assert {e.row["customer"] for e in wrong.examples} == {"c3"}
    assert {e.side for e in wrong.examples} == {"landing rows", "state"}


def test_nothing_is_left_behind(shop: Shop, found: dict[str, Compared]) -> None:
    assert found
    assert shop.client.rows("SELECT name FROM system.databases WHERE startsWith(name, 'duet_parity_')") == []
    assert list(shop.settings.state_dir.glob("parity-*")) == []
