"""``CASE x WHEN y`` to ``CASE WHEN x = y``: ClickHouse's own form takes NULL as equal to NULL."""

from __future__ import annotations

from sqlglot import exp


def expand_case(tree: exp.Query) -> exp.Query:
    """Rewrites every simple CASE of ``tree`` in place."""
    for case in list(tree.find_all(exp.Case)):
        operand = case.this
        if operand is None:
            continue
        for branch in case.args["ifs"]:
            condition = branch.this.copy()
            branch.set("this", exp.EQ(this=_operand(operand), expression=_operand(condition)))
        case.set("this", None)
    return tree


def _operand(node: exp.Expr) -> exp.Expr:
    atoms = (exp.Column, exp.Literal, exp.Paren, exp.Func)
    return node.copy() if isinstance(node, atoms) else exp.paren(node.copy())
