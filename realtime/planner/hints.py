"""Physical hints as an author writes them in ``meta.realtime``, checked before anything is deployed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from realtime.errors import RefusedError
from realtime.planner.expiry import EXAMPLE, Span, in_words
from realtime.planner.options import nearest

GRANULARITY = 8192
_MOST_ROWS = 1 << 20
_NO_VALUE = (exp.Alias, exp.Query, exp.Command, exp.Block, exp.Tuple)


def wrong(option: str, what: str, remedy: str) -> RefusedError:
    """The refusal of ``meta.realtime.<option>``."""
    return RefusedError(f"meta.realtime.{option} {what}", construct=f"meta.realtime.{option}", remedy=remedy)


def names(options: Mapping[str, Any], option: str) -> tuple[str, ...]:
    """The columns that ``option`` names, one or a list; RefusedError where it is something else."""
    given = options.get(option) or ()
    found = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, (list, tuple)) else (None,)
    if not all(isinstance(name, str) and name for name in found):
        raise wrong(option, f"is {given!r}", f"name columns, as in `{option}: [room, sent_minute]`")
    return found


def granularity(options: Mapping[str, Any]) -> int:
    """Rows per mark of the index; RefusedError where that is no such number."""
    given = options.get("index_granularity", GRANULARITY)
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= _MOST_ROWS:
        raise wrong(
            "index_granularity",
            f"is {given!r}",
            f"write a number of rows from 1 to {_MOST_ROWS:,}; fewer than {GRANULARITY:,} for narrow lookups, as 256",
        )
    return given


def partitioning(options: Mapping[str, Any], allowed: Collection[str], whose: str) -> str:
    """The expression of ``partition_by``, which may read the columns ``allowed``, called ``whose``; "" without one."""
    given = options.get("partition_by", "")
    return _expression("partition_by", given, allowed, whose, "`partition_by: toStartOfMonth(sent_at)`")


def time_to_live(options: Mapping[str, Any], allowed: Collection[str], whose: str) -> Span | str:
    """``ttl`` in words, or as an expression that may read the columns ``allowed``, called ``whose``; "" without one."""
    given = options.get("ttl", "")
    try:
        span = in_words(given) if isinstance(given, str) else None
    except ValueError as error:
        raise wrong("ttl", f"is {given!r}: {error}", EXAMPLE) from None
    return span or _expression("ttl", given, allowed, whose, "`ttl: 90 days`, `ttl: sent_at + INTERVAL 90 DAY`")


def _expression(option: str, given: Any, allowed: Collection[str], whose: str, example: str) -> str:
    """``given``, where it is one ClickHouse expression over columns ``allowed``."""
    if not given and given is not False:
        return ""
    if not isinstance(given, str):
        raise wrong(option, f"is {given!r}", f"write an expression of ClickHouse's, as in {example}")
    try:
        tree = sqlglot.parse_one(given, read="clickhouse")
    except SqlglotError:
        tree = None
    if tree is None or isinstance(tree, _NO_VALUE):
        raise wrong(option, f"is {given!r}, which is not one expression of ClickHouse's", f"write one, as in {example}")
    read = {column.name for column in tree.find_all(exp.Column)}
    unknown = sorted(read - set(allowed))
    if unknown:
        raise wrong(
            option,
            f"reads {', '.join(unknown)}, which {'is' if len(unknown) == 1 else 'are'} none of {whose}",
            f"{nearest(unknown, allowed)}{whose} are {', '.join(allowed) or 'none'}",
        )
    if not read:
        raise wrong(
            option, f"is {given!r}, which reads no column", f"write an expression over {whose}, as in {example}"
        )
    return given
