"""Snowflake. Names are quoted, so that it keeps their case."""

from __future__ import annotations

from sqlglot.dialects.snowflake import Snowflake

from realtime.emit.warehouses.rules import merged
from realtime.emit.warehouses.rules.aggregates import SNOWFLAKE_AGGREGATES
from realtime.emit.warehouses.rules.casts import SNOWFLAKE_CASTS
from realtime.emit.warehouses.warehouse import Warehouse

TYPES = {
    "BOOLEAN": "BOOLEAN",
    "TINYINT": "NUMBER(3, 0)",
    "SMALLINT": "NUMBER(5, 0)",
    "INTEGER": "NUMBER(10, 0)",
    "BIGINT": "NUMBER(19, 0)",
    "HUGEINT": "NUMBER(38, 0)",
    "UTINYINT": "NUMBER(3, 0)",
    "USMALLINT": "NUMBER(5, 0)",
    "UINTEGER": "NUMBER(10, 0)",
    "UBIGINT": "NUMBER(20, 0)",
    "DOUBLE": "FLOAT",
    "DECIMAL": "NUMBER",
    "VARCHAR": "VARCHAR",
    "DATE": "DATE",
    "TIME": "TIME(6)",
    "TIMESTAMP": "TIMESTAMP_NTZ(6)",
    "TIMESTAMP_S": "TIMESTAMP_NTZ(0)",
    "TIMESTAMP_MS": "TIMESTAMP_NTZ(3)",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP_TZ(6)",
}
PROFILE = """\
duet_snowflake:
  target: snowflake
  outputs:
    snowflake:
      type: snowflake
      account: "{{ env_var('DUET_SNOWFLAKE_ACCOUNT') }}"
      user: "{{ env_var('DUET_SNOWFLAKE_USER') }}"
      password: "{{ env_var('DUET_SNOWFLAKE_PASSWORD', '') }}"
      role: "{{ env_var('DUET_SNOWFLAKE_ROLE', 'PUBLIC') }}"
      warehouse: "{{ env_var('DUET_SNOWFLAKE_WAREHOUSE') }}"
      database: "{{ env_var('DUET_SNOWFLAKE_DATABASE') }}"
      schema: "{{ env_var('DUET_SNOWFLAKE_SCHEMA', 'PUBLIC') }}"
      threads: 4
"""
SNOWFLAKE = Warehouse(
    name="snowflake",
    title="Snowflake",
    dialect=Snowflake,
    types=TYPES,
    rules=merged("RULES", "SNOWFLAKE"),
    functions=merged("FUNCTIONS"),
    casts=SNOWFLAKE_CASTS,
    aggregates=SNOWFLAKE_AGGREGATES,
    collation="",
    qualifies=True,
    filters=False,
    ignores_nulls=True,
    longest_name=255,
    reserved=None,
    profile=PROFILE,
)
