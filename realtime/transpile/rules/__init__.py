"""How each DuckDB construct is written in ClickHouse: one table per family, merged here.

A construct that no table lists is refused. One that two tables list is a mistake, found at import.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from sqlglot import exp

from realtime.transpile.lower import Rule

FAMILIES = tuple(sorted(m.name for m in pkgutil.iter_modules(__path__)))


def _merged(name: str) -> dict[Any, Rule]:
    merged: dict[Any, Rule] = {}
    for family in FAMILIES:
        table = getattr(importlib.import_module(f"{__name__}.{family}"), name, {})
        twice = merged.keys() & table.keys()
        assert not twice, f"{family} lists {twice}, which another family lists too"
        merged.update(table)
    return merged


RULES: dict[type[exp.Expr], Rule] = _merged("RULES")
FUNCTIONS: dict[str, Rule] = _merged("FUNCTIONS")
"""Functions that sqlglot has no node for, by name in lower case."""
