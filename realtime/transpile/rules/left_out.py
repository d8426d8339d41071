"""DuckDB's functions that no table lists, each with the reason and what to write instead.

A test compares this table and the others with what DuckDB itself lists: what is in none of them fails it.
"""

from __future__ import annotations

_GROUPS: tuple[tuple[str, str, str], ...] = ()
LEFT_OUT: dict[str, tuple[str, str]] = {
    name: (reason, remedy) for reason, remedy, names in _GROUPS for name in names.split()
}
