"""docs/warehouses.md says what the tables say."""

from __future__ import annotations

from pathlib import Path

from realtime.emit.warehouses.translate import WAREHOUSES

PAGE = Path(__file__).parents[3] / "docs" / "warehouses.md"


def test_the_table_of_types() -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    told = {row[0].strip("`"): [cell.strip("`") for cell in row[1:]] for row in rows}
    names = {name for warehouse in WAREHOUSES.values() for name in warehouse.types}
    assert told == {n: [w.types.get(n, "refused") for w in WAREHOUSES.values()] for n in names}
