"""Columns, literals, parameters, and what only holds other expressions together."""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.form import call, cast, column, text
from realtime.transpile.lower import Lower, Rule, refused, rule, type_of
from realtime.transpile.origins import is_null_extended
from realtime.transpile.rules.unnest import element_name, is_unnested
from realtime.transpile.types import NESTED, Kind


def _column(lower: Lower, node: exp.Column) -> exp.Expr:
    if node.table and is_unnested(node):
        return column(element_name(node.table, node.name))
    if node.table:
        _check_never_null(node)
        return column(node.name, node.table)
    if _lambda_of(node):
        return column(node.name)
    select = node.find_ancestor(exp.Select)
    for projection in select.expressions if select is not None else []:
        if isinstance(projection, exp.Alias) and projection.alias == node.name:
            return lower(projection.this)
    raise refused(node, f"column {node.name} can't be resolved", remedy="qualify it with its table")


_WITHOUT_NULL = {
    Kind.LIST: "write coalesce({name}, [])",
    Kind.ARRAY: "compute what you need of {name} before joining",
    Kind.STRUCT: "select its fields before joining",
    Kind.MAP: "select its fields before joining",
}


def _check_never_null(node: exp.Column) -> None:
    """RefusedError for a list that a join leaves NULL: ClickHouse has the empty one there."""
    found = type_of(node)
    if found.kind not in NESTED or not is_null_extended(node):
        return
    if not is_empty_otherwise(node.parent):
        raise refused(
            node,
            f"{found} is NULL where the join finds no row, and ClickHouse has no such NULL",
            remedy=_WITHOUT_NULL[found.kind].format(name=node.name),
        )


def is_empty_otherwise(node: exp.Expr | None) -> bool:
    """Whether ``node`` is ``coalesce(x, [])``."""
    if not isinstance(node, exp.Coalesce) or len(node.expressions) != 1:
        return False
    other = node.expressions[0].this if isinstance(node.expressions[0], exp.Cast) else node.expressions[0]
    return isinstance(other, exp.Array) and not other.expressions


def _lambda_of(node: exp.Column) -> bool:
    at = node.parent
    while at is not None and not isinstance(at, exp.Query):
        if isinstance(at, exp.Lambda) and node.name in [p.name for p in at.expressions]:
            return True
        at = at.parent
    return False


def _literal(lower: Lower, node: exp.Literal) -> exp.Expr:
    found = type_of(node)
    if node.is_string:
        return text(node.name)
    if found.kind is Kind.DECIMAL:
        return cast(text(node.name), f"Decimal({found.precision}, {found.scale})")
    if found.kind is Kind.FLOAT:
        return call("toFloat64", repr(float(node.name)))
    if found.name == "INTEGER":
        return call("toInt32", node)
    if found.name == "BIGINT":
        return call("toInt64", node)
    if found.name == "HUGEINT":
        return call("toInt128", node.name)
    raise refused(node, f"a literal of type {found}")


def _null(lower: Lower, node: exp.Null) -> exp.Expr:
    return exp.null()


def _boolean(lower: Lower, node: exp.Boolean) -> exp.Expr:
    return exp.Boolean(this=bool(node.this))


def _paren(lower: Lower, node: exp.Paren) -> exp.Expr:
    return exp.paren(lower(node.this), copy=False)


def _bare_parameter(lower: Lower, node: exp.Expr) -> exp.Expr:
    raise refused(
        node, "a parameter without a type", remedy=f"write param('{node.name}', 'varchar') or a cast around it"
    )


RULES: dict[type[exp.Expr], Rule] = {
    exp.Column: rule(_column, "table db catalog"),
    exp.Literal: rule(_literal, "is_string"),
    exp.Null: rule(_null),
    exp.Boolean: rule(_boolean),
    exp.Paren: rule(_paren),
    exp.Parameter: rule(_bare_parameter),
    exp.Placeholder: rule(_bare_parameter),
}
