"""Structs: literals and fields. A struct is a named tuple, and never NULL in ClickHouse; its fields may be."""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.form import call, cast
from realtime.transpile.lower import Lower, Rule, refused, rule, type_of
from realtime.transpile.types import DuckType, Kind


def _literal(lower: Lower, node: exp.Struct) -> exp.Expr:
    found = type_of(node)
    if found.kind is not Kind.STRUCT or any(t.kind is Kind.NULL for _, t in found.fields):
        raise refused(node, f"a struct of type {found}", remedy="name its fields, and cast NULL to a type")
    values = [v.expression if isinstance(v, (exp.PropertyEQ, exp.Slice)) else v for v in node.expressions]
    fields = [lower.typed(value, of) for value, (_, of) in zip(values, found.fields, strict=True)]
    return cast(call("tuple", *fields), found.clickhouse)


def _dot(lower: Lower, node: exp.Dot) -> exp.Expr:
    return field(lower, node, node.this, node.expression.name)


def _extract(lower: Lower, node: exp.StructExtract) -> exp.Expr:
    return field(lower, node, node.this, node.expression.name)


def field(lower: Lower, node: exp.Expr, struct: exp.Expr, name: str) -> exp.Expr:
    """The field ``name`` of ``struct``; DuckDB looks for it without regard to case, ClickHouse does not."""
    found = type_of(struct)
    if found.kind is not Kind.STRUCT:
        raise refused(node, f"field {name} of {found}", remedy="take a field of a struct")
    return call("tupleElement", lower(struct), _spelled(node, found, name))


def _spelled(node: exp.Expr, found: DuckType, name: str) -> str:
    for each, _ in found.fields:
        if each.lower() == name.lower():
            return each
    raise refused(node, f"{found} has no field {name}", remedy="name one of its fields")


RULES: dict[type[exp.Expr], Rule] = {
    exp.Struct: rule(_literal),
    exp.Dot: rule(_dot),
    exp.StructExtract: rule(_extract),
}
