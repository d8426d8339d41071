"""Which column types take every value of another exactly, so that a landing table can follow while rows come in."""

from __future__ import annotations

import re

_SIGNED = ("Int8", "Int16", "Int32", "Int64", "Int128", "Int256")
_UNSIGNED = ("UInt8", "UInt16", "UInt32", "UInt64", "UInt128", "UInt256")
_WIDER: dict[str, frozenset[str]] = {
    **{kind: frozenset(_SIGNED[i + 1 :]) for i, kind in enumerate(_SIGNED)},
    **{kind: frozenset(_UNSIGNED[i + 1 :] + _SIGNED[i + 1 :]) for i, kind in enumerate(_UNSIGNED)},
    "Float32": frozenset({"Float64"}),
}
_DECIMAL = re.compile(r"Decimal\((\d+), (\d+)\)")
_NULLABLE = re.compile(r"Nullable\((.*)\)")


def is_wider(before: str, after: str) -> bool:
    """Whether every value of the ClickHouse type ``before`` is the same value in ``after``, a type of its own.

    >>> is_wider("Int32", "Nullable(Int64)"), is_wider("Nullable(Int32)", "Int64"), is_wider("String", "Int64")
    (True, False, False)
    >>> is_wider("Decimal(10, 2)", "Decimal(12, 2)"), is_wider("Decimal(10, 2)", "Decimal(12, 6)")
    (True, False)
    """
    if before == after or (_NULLABLE.fullmatch(before) and not _NULLABLE.fullmatch(after)):
        return False
    inner, wider = plain_type(before), plain_type(after)
    return inner == wider or wider in _WIDER.get(inner, ()) or _wider_decimal(inner, wider)


def plain_type(kind: str) -> str:
    """``kind`` without Nullable."""
    found = _NULLABLE.fullmatch(kind)
    return found[1] if found else kind


def _wider_decimal(before: str, after: str) -> bool:
    narrow, wide = _DECIMAL.fullmatch(before), _DECIMAL.fullmatch(after)
    if narrow is None or wide is None:
        return False
    places = int(wide[2]) - int(narrow[2])
    return places >= 0 and int(wide[1]) - int(narrow[1]) >= places
