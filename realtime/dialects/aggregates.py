"""Aggregates whose result has another type in the warehouse than in DuckDB."""

from __future__ import annotations

from sqlglot import exp

from realtime.dialects.dialect import Rule, Translation, cast, rule

_WRAPPERS = (exp.Filter, exp.Window, exp.WithinGroup, exp.IgnoreNulls, exp.RespectNulls)
_RESULT = "result"


def giving(node: exp.Expr, duckdb_type: str) -> exp.Expr:
    """The aggregate call ``node``, cast to ``duckdb_type``; inside FILTER or OVER these are cast as a whole."""
    if isinstance(node.parent, _WRAPPERS) and node.arg_key == "this":
        node.parent.meta[_RESULT] = duckdb_type
        return node
    return cast(node, duckdb_type)


def _wrapper(t: Translation, node: exp.Expr) -> exp.Expr:
    wanted = node.meta.pop(_RESULT, None)
    return node if wanted is None else giving(node, wanted)


def wrappers() -> dict[type[exp.Expr], Rule]:
    """Rules of FILTER and OVER that pass on what `giving` asks."""
    return {
        exp.Filter: rule(_wrapper),
        exp.Window: rule(_wrapper, "partition_by order spec over alias"),
    }


def argument(node: exp.AggFunc) -> exp.Expr:
    """What ``node`` aggregates, without DISTINCT."""
    inner = node.this
    found = inner.expressions[0] if isinstance(inner, exp.Distinct) else inner
    assert isinstance(found, exp.Expr)
    return found
