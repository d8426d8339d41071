"""ClickHouse SQL for people: indented, and quoted only where a name needs it; and such text as a tree again."""

from __future__ import annotations

import re

from sqlglot import exp
from sqlglot.dialects.clickhouse import ClickHouse

from realtime.transpile.form import CLICKHOUSE, parse_exactly, render

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")
_RESERVED_BESIDE = """
all and anti any array as asc asof between both by case cast collate cross cube date day desc
distinct else end except exists false final first format from full global group having hour if ilike
in inf inner intersect interval into is join key last leading left like limit minute month nan
natural not null nulls offset on or order outer over partition prewhere quarter range right rollup
row rows sample second select semi set settings table then ties timestamp to totals trailing trim
true union using values view week when where window with year
"""
_RESERVED = {word.lower() for word in ClickHouse.Tokenizer.KEYWORDS} | {*_RESERVED_BESIDE.split()}


def readable(tree: exp.Expr, *, copy: bool = True) -> str:
    """The SQL text of ``tree``. Names that could be read as keywords stay quoted.

    Without a ``copy`` of it, ``tree`` is of no use afterwards.
    """
    tree = tree.copy() if copy else tree
    for name in tree.find_all(exp.Identifier):
        if name.args.get("quoted") and _PLAIN.match(name.name) and name.name not in _RESERVED:
            name.set("quoted", False)
    return render(tree, pretty=True, copy=False)


def parsed(text: str) -> exp.Query | None:
    """``text``, which `readable` made of a query, as a tree that prints as it was written: calls keep the names that
    sqlglot would translate. None where it does not print so."""
    tree = parse_exactly(text)
    return tree if isinstance(tree, exp.Query) and readable(tree) == text else None


def parsed_exactly(text: str) -> exp.Query | None:
    """`parsed` for a query that may have parameters, and be laid out otherwise."""
    tree = parse_exactly(text)
    return tree if isinstance(tree, exp.Query) and _words(readable(tree)) == _words(text) else None


def _words(text: str) -> list[str]:
    return [token.text for token in CLICKHOUSE.tokenize(text)]
