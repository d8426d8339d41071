"""How each DuckDB construct is written in a warehouse: one module per family, with one table per warehouse.

``RULES`` is SQL that means the same in DuckDB and in every warehouse; ``POSTGRES`` and ``SNOWFLAKE`` are their own.
A construct that no table lists is refused. One that two tables list is a mistake, found at import.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

FAMILIES = tuple(sorted(m.name for m in pkgutil.iter_modules(__path__)))


def merged(*names: str) -> dict[Any, Any]:
    """Every family's tables that are called one of ``names``, as one."""
    found: dict[Any, Any] = {}
    for family in FAMILIES:
        for name in names:
            table = getattr(importlib.import_module(f"{__name__}.{family}"), name, {})
            twice = found.keys() & table.keys()
            assert not twice, f"{family} lists {twice}, which another table lists too"
            found.update(table)
    return found
