"""ClickHouse SQL as trees: templates whose function names come out as they were written.

sqlglot knows many ClickHouse functions under names of its own and may print them otherwise. Here
every function call becomes an `exp.Anonymous`, so a form prints what its author wrote.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.dialects.clickhouse import ClickHouse
from sqlglot.tokenizer_core import TokenType

CLICKHOUSE = ClickHouse()
_VERBATIM = "__verbatim_"
# What may stand before a parenthesis and is no function.
# Operands that keep their meaning without parentheses wherever they are put.
_ATOMS = (
    exp.Anonymous,
    exp.Column,
    exp.Literal,
    exp.Paren,
    exp.Null,
    exp.Boolean,
    exp.Array,
    exp.Tuple,
    exp.Placeholder,
)
_ENCLOSING = (exp.Anonymous, exp.Paren, exp.Array, exp.Tuple, exp.Alias, exp.Lambda, exp.Select)


def form(template: str, /, **parts: exp.Expr | str | int) -> exp.Expr:
    """A ClickHouse expression: each bare name of ``template`` that is in ``parts`` is replaced.

    A part that is a tree is put in (with parentheses where precedence asks for them), or a copy of it where it is
    already part of another tree; a ``str`` becomes a string literal, an ``int`` a number.

    >>> render(form("if(isNaN(x), nan, x + 0.)", x=exp.column("a") / exp.column("b")))
    'if(isNaN(a / b), nan, (a / b) + 0.)'
    """
    tree = _parse(template).copy()
    slots = [c for c in tree.find_all(exp.Column) if not c.table and c.name in parts]
    for slot in slots:
        value = _tree(parts[slot.name])
        if slot is tree:
            return value
        slot.replace(wrapped(value, slot.parent))
    return tree


def call(function: str, /, *arguments: exp.Expr | str | int) -> exp.Expr:
    """``function(arguments)``, the name printed as given."""
    return exp.Anonymous(this=function, expressions=[_tree(a) for a in arguments])


def text(value: str) -> exp.Expr:
    """A string literal."""
    return exp.Literal.string(value)


def number(value: int) -> exp.Expr:
    """An integer literal, negative ones in parentheses' stead as a sign."""
    return exp.Literal.number(value)


def cast(value: exp.Expr, clickhouse_type: str) -> exp.Expr:
    """``CAST(value, 'type')``; the value itself where it is that cast already."""
    if is_cast(value, clickhouse_type):
        return value
    return call("CAST", value, clickhouse_type)


def is_cast(value: exp.Expr, clickhouse_type: str) -> bool:
    """Whether ``value`` is ``CAST(…, 'clickhouse_type')``."""
    return isinstance(value, exp.Anonymous) and value.name == "CAST" and value.expressions[1].name == clickhouse_type


def render(tree: exp.Expr, *, pretty: bool = False, copy: bool = True) -> str:
    """ClickHouse SQL text; without a ``copy`` of it, ``tree`` is of no use afterwards."""
    return tree.sql(CLICKHOUSE, normalize_functions=False, comments=False, pretty=pretty, copy=copy)


def quote(name: str) -> exp.Identifier:
    """A quoted identifier."""
    return exp.to_identifier(name, quoted=True)


def column(name: str, table: str | None = None) -> exp.Column:
    """A quoted column, of a quoted table alias where one is given."""
    return exp.Column(this=quote(name), table=quote(table) if table else None)


def _tree(value: Any) -> exp.Expr:
    if isinstance(value, exp.Expr):
        # What stands nowhere yet is put where it belongs; copying it at every level takes a third of a compile.
        return value if value.parent is None else value.copy()
    return text(value) if isinstance(value, str) else number(value)


def wrapped(value: exp.Expr, parent: exp.Expr | None) -> exp.Expr:
    if isinstance(value, _ATOMS) or isinstance(parent, _ENCLOSING) or parent is None:
        return value
    return exp.paren(value, copy=False)


def parse_exactly(sql: str) -> exp.Expr:
    """The tree of ClickHouse SQL that this compiler wrote: it prints as the same functions, arguments and names."""
    tokens = CLICKHOUSE.tokenize(sql)
    pieces, at, braces = [], 0, 0
    for token, following in itertools.pairwise(tokens):
        braces += (token.token_type is TokenType.L_BRACE) - (token.token_type is TokenType.R_BRACE)
        # The parenthesis follows a function's name at once, and a keyword never.
        called = following.token_type is TokenType.L_PAREN and token.end + 1 == following.start
        # What is in braces is a parameter and its type.
        if called and sql[token.start].isalpha() and not braces:
            pieces += [sql[at : token.start], _VERBATIM]
            at = token.start
    tree = sqlglot.parse_one("".join([*pieces, sql[at:]]), read=CLICKHOUSE)
    for node in tree.walk():
        node.meta.clear()  # places in the text are none in the model
        if isinstance(node, exp.Anonymous):
            node.set("this", node.name.removeprefix(_VERBATIM))
    return tree


@functools.cache
def _parse(template: str) -> exp.Expr:
    """The template's tree; functions are hidden from sqlglot's own catalog behind a prefix."""
    return parse_exactly(template)
