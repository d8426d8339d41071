"""``f(doc -> 'key')`` reads JSON: DuckDB has given up arrows as lambdas, sqlglot has not."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB

_DUCKDB = DuckDB()
# Functions whose arguments may be lambdas: an arrow in them is one, or DuckDB refuses it.
_TAKE_LAMBDAS = (exp.Transform, exp.ArrayFilter, exp.Reduce)
_TAKE_LAMBDAS_BY_NAME = frozenset(
    {"apply", "array_apply", "list_apply", "array_transform", "array_filter", "filter", "array_reduce", "list_reduce"}
)


def arrows_to_json(tree: exp.Query) -> exp.Query:
    """Rewrites every lambda of ``tree`` that is a path into a document, in place."""
    for arrow in list(tree.find_all(exp.Lambda)):
        path = arrow.this
        while isinstance(path, (exp.JSONExtract, exp.JSONExtractScalar)):
            path = path.this
        if len(arrow.expressions) != 1 or not isinstance(path, exp.Literal) or _takes_lambdas(arrow.parent):
            continue
        document = exp.Column(this=arrow.expressions[0].copy())
        extract = exp.JSONExtract(this=document, expression=_DUCKDB.to_json_path(path.copy()))
        if path is arrow.this:
            arrow.replace(extract)
        else:
            path.replace(extract)
            arrow.replace(arrow.this)
    return tree


def _takes_lambdas(function: exp.Expr | None) -> bool:
    if isinstance(function, exp.Anonymous):
        return function.name.lower() in _TAKE_LAMBDAS_BY_NAME
    return isinstance(function, _TAKE_LAMBDAS)
