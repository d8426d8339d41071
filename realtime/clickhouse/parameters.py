"""Values of ``{name:Type}`` in a query's text, as they go into an address."""

from __future__ import annotations

from collections.abc import Mapping

ESCAPES = str.maketrans(
    {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r", "\b": r"\b", "\f": r"\f", "\0": r"\0", "'": r"\'"}
)
"""ClickHouse reads a parameter as a field of TabSeparated: what is not escaped ends it, or means something else."""


def bound(parameters: Mapping[str, str]) -> dict[str, str]:
    r"""The fields of an address for texts.

    >>> print(bound({"key": "a\tb"}))
    {'param_key': 'a\\tb'}
    """
    return {f"param_{name}": value.translate(ESCAPES) for name, value in parameters.items()}
