"""What a lambda calls its element becomes a column without a table, as everything else that has a value."""

from __future__ import annotations

from sqlglot import exp


def lambda_columns(tree: exp.Query) -> exp.Query:
    """Rewrites the bodies of all lambdas of ``tree`` in place; sqlglot keeps their parameters as bare identifiers."""
    for function in list(tree.find_all(exp.Lambda)):
        names = {p.name for p in function.expressions}
        for identifier in list(function.this.find_all(exp.Identifier)):
            if identifier.name in names and not isinstance(identifier.parent, (exp.Column, exp.Dot, exp.Lambda)):
                identifier.replace(exp.Column(this=identifier.copy()))
            elif identifier.name in names and identifier is function.this:
                function.set("this", exp.Column(this=identifier.copy()))
    return tree
