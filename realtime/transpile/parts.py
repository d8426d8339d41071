"""What else of a statement is refused, where one refusal ended the passes over all of it.

The CTE in which it stands is replaced by an empty one with the same columns, as often as that finds more.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp
from sqlglot.errors import SqlglotError

from realtime.errors import RefusedError, together
from realtime.project.binder import Binder
from realtime.transpile.annotate import without_params
from realtime.transpile.types import DuckType

UNRESOLVED = "names can't be resolved"


def with_others(
    error: RefusedError, query: exp.Query, binder: Binder, compiled: Callable[[exp.Query], object]
) -> RefusedError:
    """``error`` with the refusals that ``compiled`` raises for the other parts of ``query`` (DuckDB's dialect)."""
    found = [error]
    tree = query.copy()
    try:
        while _empty(tree, found[-1].part, binder):
            try:
                compiled(tree.copy())
                break
            except RefusedError as other:
                found.append(other)
    except (SqlglotError, RecursionError):
        pass  # What was found so far stands.
    # Of a name that is not there DuckDB says the same better, with its line.
    told = [other for other in found if other.line and not other.message.startswith(UNRESOLVED)]
    return together([e for e in found if not told or not e.message.startswith(UNRESOLVED)])


def _empty(tree: exp.Query, part: str, binder: Binder) -> bool:
    """Takes away the content of the CTE ``part`` ("": of the query itself), in place; False where it has none."""
    ctes = {cte.alias: cte for cte in tree.ctes}
    if not ctes or (part and part not in ctes) or tree.meta.get(f"without {part}"):
        return False
    tree.meta[f"without {part}"] = True
    if not part:
        kept = tree.args["with_"]
        for name in list(tree.args):
            tree.set(name, None)
        tree.set("expressions", [exp.alias_(exp.Literal.number(1), "one")])
        tree.set("with_", kept)
        return isinstance(tree, exp.Select)
    question = exp.select("*").from_(exp.to_identifier(part, quoted=True))
    question.set("with_", tree.args["with_"].copy())
    try:
        columns = binder.describe(without_params(question).sql("duckdb"))
    except RefusedError:
        return False
    nulls = exp.Select(expressions=[exp.alias_(_null(kind), name, quoted=True) for name, kind in columns])
    ctes[part].set("this", nulls.where(exp.false()))
    return True


def _null(kind: DuckType) -> exp.Expr:
    if kind.name in ("NULL", '"NULL"'):
        return exp.null()
    return exp.cast(exp.null(), exp.DataType.build(kind.name, dialect="duckdb", udt=True))
