"""Names in ClickHouse SQL."""

from __future__ import annotations


def quoted(name: str) -> str:
    """``name`` in backquotes.

    >>> print(quoted("a`b"))
    `a\\`b`
    """
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(text: str) -> str:
    """``text`` as a string in ClickHouse SQL.

    >>> print(literal("it's"))
    'it\\'s'
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
