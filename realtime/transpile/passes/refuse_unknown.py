"""Clauses that later passes would drop without a word are refused first."""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.lower import refused

REFUSED: dict[type[exp.Expr], tuple[str, str]] = {
    exp.TableSample: ("a sample differs from run to run", "filter by a hash of a key instead"),
    exp.Into: ("INTO is no query", "drop it"),
    exp.Lock: ("FOR UPDATE has no meaning here", "drop it"),
}


def refuse_unknown(tree: exp.Query) -> exp.Query:
    """``tree`` itself; RefusedError at the first clause that has no form."""
    for node in tree.walk():
        if type(node) in REFUSED:
            reason, remedy = REFUSED[type(node)]
            raise refused(node, reason, remedy=remedy)
        if isinstance(node, exp.Join):
            _check_join(node)
        if isinstance(node, (exp.Parameter, exp.Placeholder)) and not isinstance(node.parent, (exp.Cast, exp.TryCast)):
            raise refused(
                node, "a parameter without a type", remedy="write param('name', 'varchar'), or a cast around it"
            )
        if isinstance(node, exp.WindowSpec) and node.args.get("exclude"):
            raise refused(node, "ClickHouse has no EXCLUDE in window frames", remedy="rewrite the frame without it")
    return tree


def _check_join(join: exp.Join) -> None:
    method = (join.args.get("method") or "").upper()
    if method == "POSITIONAL":
        raise refused(join, "POSITIONAL JOIN depends on the order in which rows come", remedy="join with ON")
