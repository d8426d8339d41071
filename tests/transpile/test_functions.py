"""Every function that DuckDB lists is compiled, or refused by its own name with a reason and a remedy."""

from __future__ import annotations

import re

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from realtime.transpile.annotate import ANONYMOUS_AGGREGATES
from realtime.transpile.passes.one_name import ALIASES, MACROS
from realtime.transpile.rules import FUNCTIONS, RULES, intervals
from realtime.transpile.rules.left_out import LEFT_OUT


def _listed(*kinds: str) -> dict[str, set[int]]:
    """Names of DuckDB's functions of these kinds, each with the numbers of arguments that it takes."""
    rows = duckdb.connect().execute(
        "SELECT DISTINCT lower(function_name), len(parameters) FROM duckdb_functions() "
        "WHERE list_contains($kinds, function_type)",
        {"kinds": list(kinds)},
    )
    found: dict[str, set[int]] = {}
    for name, arguments in rows.fetchall():
        if re.fullmatch(r"[a-z_][a-z0-9_]*", name):
            found.setdefault(name, set()).add(arguments)
    return found


def _node(name: str, arguments: int) -> exp.Expr | None:
    try:
        query = sqlglot.parse_one(f"SELECT {name}({', '.join('abcdef'[:arguments])})", read="duckdb")
    except sqlglot.ParseError:
        return None
    return query.selects[0] if isinstance(query, exp.Select) else None


def _compiled(name: str, arities: set[int]) -> bool:
    nodes = filter(None, (_node(name, n) for n in sorted(arities | {1, 2, 3})))
    known = (name in FUNCTIONS if isinstance(node, exp.Anonymous) else type(node) in RULES for node in nodes)
    return any(known) or name in ALIASES or name in MACROS or name in ELSEWHERE


ELSEWHERE = frozenset({"count_star", "json_extract_path", *intervals.MAKERS})
"""Read by passes, or together with what stands around them."""


@pytest.mark.parametrize("kind", ["scalar", "aggregate", "macro"])
def test_every_function_is_compiled_or_refused_by_name(kind: str) -> None:
    missing = [n for n, a in sorted(_listed(kind).items()) if not _compiled(n, a) and LEFT_OUT.get(n) is None]
    assert missing == []


def test_what_is_left_out_is_a_function_that_no_table_has() -> None:
    listed = _listed("scalar", "aggregate", "macro")
    assert [n for n in LEFT_OUT if n not in listed] == []
    assert [n for n in LEFT_OUT if n in FUNCTIONS or n in ALIASES or n in MACROS] == []


def test_aliases_are_duckdbs_own() -> None:
    rows = duckdb.connect().execute("SELECT DISTINCT lower(function_name), alias_of FROM duckdb_functions()").fetchall()
    found: dict[str, set[str]] = {}
    for name, main in rows:
        found.setdefault(name, set()).add(main)
    wrong = {n: found.get(n) for n, main in ALIASES.items() if main not in found.get(n, set())}
    assert wrong == {}


def test_macros_are_in_duckdbs_words() -> None:
    query = "SELECT function_name, parameters, macro_definition FROM duckdb_functions() WHERE function_type = 'macro'"
    found = {(n, tuple(p), d) for n, p, d in duckdb.connect().execute(query).fetchall()}
    assert [n for n, (parameters, body) in MACROS.items() if (n, parameters, body) not in found] == []


def test_aggregates_without_a_node_are_known_as_aggregates() -> None:
    found = {n for n in _listed("aggregate") if isinstance(_node(n, 2) or _node(n, 1), exp.Anonymous)}
    assert found - ALIASES.keys() - {"count_star", "decimal_average"} == ANONYMOUS_AGGREGATES
