"""Columns, literals, and what only holds other expressions together."""

from __future__ import annotations

from sqlglot import exp

from realtime.emit.warehouses.warehouse import Writer, rule
from realtime.transpile.form import text
from realtime.transpile.lower import Rule, refused, type_of
from realtime.transpile.rules import basics
from realtime.transpile.types import Kind


def _column(writer: Writer, node: exp.Column) -> exp.Expr:
    writer.check_type(node)
    return basics.RULES[exp.Column].build(writer, node)


def _literal(writer: Writer, node: exp.Literal) -> exp.Expr:
    found = type_of(node)
    if node.is_string:
        return text(node.name)
    if found.kind is Kind.FLOAT:
        return writer.cast(text(repr(float(node.name))), found)
    if found.kind in (Kind.DECIMAL, Kind.INTEGER):
        return exp.Literal.number(node.name)
    raise refused(node, f"a literal of type {found}", remedy="write it as a number or a text")


def _subquery(writer: Writer, node: exp.Subquery) -> exp.Expr:
    return exp.Subquery(this=writer.query(node.this))


RULES: dict[type[exp.Expr], Rule] = {
    exp.Column: rule(_column, "table db catalog"),
    exp.Null: basics.RULES[exp.Null],
    exp.Boolean: basics.RULES[exp.Boolean],
    exp.Paren: basics.RULES[exp.Paren],
    exp.Literal: rule(_literal, "is_string"),
    exp.Subquery: rule(_subquery),
}
