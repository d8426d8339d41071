"""The sources that the planner's test cases read, and rows for them with NULLs, unicode and extremes."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from tests.planner.small import Declared, Row

COLUMNS = {
    "id": "varchar",
    "k": "varchar",
    "g": "integer",
    "n": "integer",
    "big": "bigint",
    "price": "decimal(10,2)",
    "x": "double",
    "flag": "boolean",
    "seen_at": "timestamp",
    "day": "date",
    "order": "varchar",
}
SOURCES = {
    "app.events": Declared(COLUMNS, options={"event_time": "seen_at"}),
    "app.more": Declared(COLUMNS, not_null=("k",)),
    "app.tagged": Declared({"id": "varchar", "tags": "varchar[]"}, not_null=("tags",)),
    "app.users": Declared(
        {"id": "varchar", "version": "bigint", "gone": "boolean", "k": "varchar", "n": "integer"},
        options={"mode": "upsert", "key": "id", "version": "version", "deleted": "gone"},
    ),
}
_TEXTS = ["", "a", "b", "ä", "日本", "👩‍🚀 x", "a'b\\c", "  ", "\t\n"]
_INTEGERS = [0, 1, -1, 7, 2**31 - 1, -(2**31)]
_BIGS = [0, 1, -1, 2**63 - 1, -(2**63)]
_PRICES = [Decimal(p) for p in ("0.00", "0.01", "-0.01", "12.34", "99999999.99", "-99999999.99")]
_FLOATS = [0.0, 1.5, -2.25, 1e15, 0.1]
_MOMENTS = [
    datetime.datetime(1900, 1, 1),
    datetime.datetime(1969, 12, 31, 23, 59, 59, 999999),
    datetime.datetime(2018, 5, 2, 19, 38, 15, 1),
    datetime.datetime(2018, 5, 2, 19, 38, 59, 999999),
    datetime.datetime(2018, 5, 2, 19, 39),
    datetime.datetime(2262, 4, 11, 23, 47, 16),
    datetime.datetime(2299, 12, 31, 23, 59, 59, 999999),
]
_DAYS = [datetime.date(1900, 1, 1), datetime.date(2018, 5, 2), datetime.date(2024, 2, 29), datetime.date(2299, 12, 31)]


EXTREMES: dict[str, list[Any]] = {
    "k": _TEXTS, "g": [1, 2, 3], "n": _INTEGERS, "big": _BIGS, "price": _PRICES, "x": _FLOATS,
    "flag": [True, False], "seen_at": _MOMENTS, "day": _DAYS, "order": _TEXTS,
}  # fmt: skip


def _maybe(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, *values])


def events(prefix: str, *, known: tuple[str, ...] = ()) -> st.SearchStrategy[list[Row]]:
    """Up to 12 rows, each with an id of its own; ``known`` columns hold no NULL."""
    row = st.fixed_dictionaries({n: st.sampled_from(v) if n in known else _maybe(v) for n, v in EXTREMES.items()})
    return st.lists(row, max_size=12).map(lambda rows: [{"id": f"{prefix}{i}", **r} for i, r in enumerate(rows)])


def versions() -> st.SearchStrategy[list[Row]]:
    """Versions of up to 4 users, each version number once per user."""
    row = st.fixed_dictionaries(
        {
            "id": st.sampled_from(["u1", "u2", "ü3", ""]),
            "version": st.integers(0, 9),
            "gone": st.sampled_from([None, False, True]),
            "k": _maybe(_TEXTS),
            "n": _maybe([0, 1, -5, 100]),
        }
    )
    return st.lists(row, max_size=10, unique_by=lambda r: (r["id"], r["version"]))


def tagged() -> st.SearchStrategy[list[Row]]:
    """Up to 4 rows with lists, empty ones among them."""
    tags = st.lists(_maybe(_TEXTS), max_size=3)
    return st.lists(tags, max_size=4).map(lambda lists: [{"id": f"t{i}", "tags": t} for i, t in enumerate(lists)])


def newest(rows: list[Row]) -> list[Row]:
    """What an upserted source holds: the newest version per key, unless it is deleted."""
    kept: dict[str, Row] = {}
    for row in sorted(rows, key=lambda r: int(r["version"])):
        kept[row["id"]] = row
    return [r for r in kept.values() if not r["gone"]]
