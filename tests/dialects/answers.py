"""Answers of Postgres and of DuckDB in one form: equal exactly where the values are."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from decimal import Decimal
from typing import Any

import duckdb

from realtime.transpile.types import DuckType, Kind, duck_type
from tests.postgres import Postgres

Answer = Counter[tuple[Any, ...]]


def both(
    connection: duckdb.DuckDBPyConnection, in_duckdb: str, postgres: Postgres, query: str
) -> tuple[Answer, Answer]:
    """What each gives, rows with how often they occur; AssertionError where names of columns differ."""
    relation = connection.sql(in_duckdb)
    kinds = [duck_type(str(t)) for t in relation.types]
    rows = postgres.rows(query)
    assert all(list(row) == relation.columns for row in rows)
    given = Counter(tuple(comparable(v, k) for v, k in zip(row, kinds, strict=True)) for row in relation.fetchall())
    return given, Counter(tuple(comparable(v, k) for v, k in zip(row.values(), kinds, strict=True)) for row in rows)


def comparable(value: Any, kind: DuckType) -> Any:
    """A value of either engine. Whatever has digits that its type in DuckDB has not would differ."""
    if value is None or isinstance(value, bool):
        return value
    if kind.kind in (Kind.INTEGER, Kind.DECIMAL):
        return Decimal(value).normalize() + 0
    if kind.kind is Kind.FLOAT:
        return "nan" if math.isnan(float(value)) else float(f"{float(value):.12g}") + 0.0
    if kind.kind in (Kind.TIMESTAMP, Kind.TIMESTAMPTZ):
        moment = value if isinstance(value, datetime.datetime) else datetime.datetime.fromisoformat(value)
        return moment.replace(tzinfo=None)
    return str(value)
