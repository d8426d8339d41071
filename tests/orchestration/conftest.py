"""A small dbt project of its own: sources, three real-time models, one that only batch keeps."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import pytest

from orchestration.definitions import collect
from realtime.clickhouse.endpoint import Endpoint
from realtime.settings import Settings

FILES = {
    "dbt_project.yml": """
        name: bakery
        version: "1.0"
        profile: bakery
        flags: {send_anonymous_usage_stats: false}
        on-run-start: create table if not exists main.calendar as select date '2024-01-01' as day
    """,
    "profiles.yml": """
        bakery:
          target: dev
          outputs:
            dev: {type: duckdb, path: bakery.duckdb, threads: 1}
    """,
    "models/sales/sources.yml": """
        version: 2
        sources:
          - name: till
            schema: till
            tables:
              - name: orders
                description: One row per order, as the till sends it.
                config: {meta: {realtime: {mode: append, event_time: ordered_at}}}
                columns:
                  - {name: order_id, data_type: bigint, data_tests: [not_null]}
                  - {name: customer, data_type: varchar}
                  - {name: loaves, data_type: bigint}
                  - {name: ordered_at, data_type: timestamp}
          - name: office
            schema: main
            tables:
              - {name: calendar, description: "Days off, kept by hand."}
    """,
    "models/sales/staging/stg_orders.sql": """
        select order_id, customer, loaves, ordered_at from {{ source('till', 'orders') }} where loaves > 0
    """,
    "models/sales/marts/customers.sql": """
        select customer, count(*) as orders, sum(loaves) as loaves
        from {{ ref('stg_orders') }}
        group by customer
    """,
    "models/sales/marts/order_sizes.sql": """
        select loaves, count(*) as orders from {{ ref('stg_orders') }} group by loaves
    """,
    "models/sales/schema.yml": """
        version: 2
        models:
          - name: stg_orders
            description: Orders of at least one loaf.
            config: {meta: {realtime: true}}
          - name: customers
            description: One row per customer.
            config: {meta: {realtime: true, dagster: {owners: ["team:sales"]}}, tags: [daily]}
            columns:
              - {name: customer, description: Who ordered., data_tests: [unique, not_null]}
          - name: order_sizes
            description: One row per number of loaves.
            config: {meta: {realtime: true}}
            columns:
              - {name: loaves, data_tests: [unique]}
          - name: open_days
            description: Kept in batch only.
            columns:
              - {name: day, data_tests: [not_null]}
    """,
    "models/planning/open_days.sql": """
        select cast(n as date) as day
        from generate_series(date '2024-01-01', date '2024-01-03', interval 1 day) as days(n)
        where n not in (select day from {{ source('office', 'calendar') }})
    """,
    "seeds/bakers.csv": "baker\nAda\n",
}


def write(root: Path, changed: Mapping[str, str] | None = None) -> Path:
    """The project, with some files ``changed``, in ``root``."""
    for path, text in {**FILES, **(changed or {})}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(textwrap.dedent(text))
    return root


@pytest.fixture(scope="session")
def bakery(tmp_path_factory: pytest.TempPathFactory, endpoint: Endpoint) -> Settings:
    """The project, with a database of its own."""
    root = write(tmp_path_factory.mktemp("bakery"))
    return Settings.load(root, {"CLICKHOUSE_URL": f"{endpoint.url}/bakery"})


@pytest.fixture(scope="session")
def definitions(bakery: Settings) -> dg.Definitions:
    """Its code location, shared by the tests: compiling takes seconds."""
    return collect(bakery)
