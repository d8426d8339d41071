"""At most one row of a model per key, as part of a row that holds what several models have of the key."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from sqlglot import exp

from realtime.errors import DuetError
from realtime.planner.selects import Scope

ALIAS = "_together"
"""The joined row's name where it is read."""
_KEY = "k_"


class ApartError(DuetError):
    """Why a lambda's models are not read together."""


def key_of(key: str) -> str:
    """The joined row's name for a key."""
    return _KEY + key


def column_of(member: int, column: str) -> str:
    """The joined row's name for a column of the ``member``-th model."""
    return f"m{member}_{column}"


def there(member: int) -> str:
    """The joined row's column that says whether it holds a row of the ``member``-th model."""
    return f"there_{member}"


@dataclasses.dataclass
class KeyRows:
    """At most one row per key of a model: its columns, what else must hold that there is one, and the parameters that
    keys are compared with."""

    member: int
    columns: dict[str, exp.Expr]
    present: list[exp.Expr]
    fixed: dict[str, exp.Expr] = dataclasses.field(default_factory=dict)
    required: bool = True

    def guarded(self) -> dict[str, exp.Expr]:
        """Columns as they are behind the join."""
        if self.required:
            return self.columns
        return {name: self._where_present(value) for name, value in self.columns.items()}

    def _where_present(self, value: exp.Expr) -> exp.Expr:
        own = isinstance(value, exp.Column) and value.name.startswith(column_of(self.member, ""))
        if own and len(self.present) == 1:
            return value
        branch = exp.If(this=exp.and_(*self.present), true=value.copy())
        return exp.Case(ifs=[branch])

    def fix(self, key: str, value: exp.Expr) -> bool:
        """Notes that ``key`` is ``value``; whether that was new."""
        if key not in self.fixed:
            self.fixed[key] = value
            return True
        if self.fixed[key] != value:
            raise ApartError(f"{key} is compared with more than one parameter")
        return False


Ties = list[tuple[KeyRows, KeyRows, str]]
"""Rows, others of the same key that are joined to them, and the key."""


def joined_column(name: str) -> exp.Column:
    """The column ``name`` of the joined row."""
    return exp.column(name, ALIAS, quoted=True)


def fixed_key(condition: exp.Expr, scope: Scope) -> tuple[str, exp.Expr] | None:
    """Key and parameter where ``condition`` compares both for equality."""
    if isinstance(condition, exp.EQ):
        for column, value in ((condition.this, condition.expression), (condition.expression, condition.this)):
            bound = isinstance(value, exp.Cast) and isinstance(value.this, (exp.Placeholder, exp.Parameter))
            key = _key(column, scope)
            if bound and key is not None:
                return key, value
    return None


def _key(node: exp.Expr, scope: Scope) -> str | None:
    """The key that ``node`` is in the joined row, if it is one."""
    if not isinstance(node, exp.Column) or node.table not in scope:
        return None
    value = scope[node.table].get(node.name)
    found = isinstance(value, exp.Column) and value.name.startswith(_KEY)
    return value.name.removeprefix(_KEY) if found and value is not None else None


def owner_of(condition: exp.Expr, scope: Scope) -> str:
    """The relation of ``scope`` of which ``condition`` has a column."""
    return next(c.table for c in condition.find_all(exp.Column) if c.table in scope)


def tied_key(condition: exp.Expr, alias: str, seen: Mapping[str, KeyRows]) -> tuple[KeyRows, str] | None:
    """The other rows whose key ``condition`` equates with the same key of the rows called ``alias``."""
    if not isinstance(condition, exp.EQ):
        return None
    scope = {a: rows.columns for a, rows in seen.items()}
    sides = [condition.this, condition.expression]
    keys = [_key(side, scope) for side in sides]
    tables = [side.table for side in sides if isinstance(side, exp.Column)]
    if keys[0] is None or keys[0] != keys[1] or (tables[0] == alias) == (tables[1] == alias):
        return None
    return seen[next(t for t in tables if t != alias)], keys[0]


def spread(ties: Ties) -> None:
    """What a key is compared with holds for the rows that it is tied to; not back from those that may be missing."""
    changed = True
    while changed:
        changed = False
        for before, after, key in ties:
            if key in before.fixed:
                changed |= after.fix(key, before.fixed[key])
            elif key in after.fixed and after.required and before.required:
                changed |= before.fix(key, after.fixed[key])
