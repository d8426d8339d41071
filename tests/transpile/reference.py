"""docs/sql.md, made of the compiler's tables and of the cases in tests/fixtures, which both engines run:
``python -m tests.transpile.reference > docs/sql.md``."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType

import duckdb
import sqlglot
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB

from realtime.transpile.passes import one_name
from realtime.transpile.passes.refuse_unknown import REFUSED
from realtime.transpile.rules import FAMILIES, casts, formats, intervals, left_out, moments, refusals
from realtime.transpile.transpile import AFTER_QUALIFY, BEFORE_QUALIFY
from realtime.transpile.types import INTEGERS, SCALARS, Kind, duck_type
from tests.transpile.cases import Case, read, read_file

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"
_HEAD = """# SQL that Duet compiles

A model is compiled only where ClickHouse gives the very answer of DuckDB; everything else is refused, with the place
and what to write instead. This page lists both. It is generated (`python -m tests.transpile.rewrite`) from the
compiler's tables and from cases that the tests run in both engines, over rows with NULL, NaN, infinities, extremes,
empty and foreign text and far dates. What is not on this page is refused.

Floating-point sums and what is computed from them agree within rounding, as they do between two runs of DuckDB.
"""
_CLAUSES = (
    ("joins", "Joins"), ("series", "Numbers and dates as rows"), ("pivots", "PIVOT and UNPIVOT"),
    ("grouping", "GROUP BY"),
    ("sets", "UNION, EXCEPT, INTERSECT"),
    ("subqueries", "Subqueries"), ("order", "ORDER BY, LIMIT, DISTINCT"), ("windows", "Windows"),
)  # fmt: skip
_LONGEST = 240
_NESTED = (
    "DECIMAL(10,2)", "INTEGER[]", "FLOAT[384]", "STRUCT(a INTEGER, b VARCHAR)", "MAP(VARCHAR, INTEGER)",
    "ENUM('a', 'b')",
)  # fmt: skip
_ELSEWHERE = ("refusals", "casts")
_BARE = (exp.Parameter, exp.Placeholder)  # taken where a cast gives them a type
_LABELS: dict[type[exp.Expr], str] = {
    exp.Paren: "( )",
    exp.Is: "IS",
    exp.TimeToStr: "strftime",
    exp.StrToTime: "strptime",
    exp.DateAdd: "date_add",
}
_ONE_LINE = re.compile(r"\s*\n\s*")
Example = tuple[str, str]


def reference() -> str:
    """The page."""
    parts = [_HEAD, *_types(), *_casts(), *_families(), *_moments(), *_clauses(), *_rewritten(), *_refused()]
    return "\n".join(parts)


def _types() -> Iterator[str]:
    yield "## Types\n"
    plain = [(name, f"{base}") for name, (base, _) in INTEGERS.items()]
    plain += [(name, base) for name, (kind, base) in SCALARS.items() if kind is not Kind.NULL]
    plain += [(name, duck_type(name).base) for name in _NESTED]
    yield _table(("DuckDB", "ClickHouse"), [(_code(a), _code(b)) for a, b in plain])
    yield "A column that may be NULL is `Nullable(…)` there; lists, arrays, structs and maps are never NULL.\n"


def _casts() -> Iterator[str]:
    yield "## Casts\n"
    yield "`CAST(x AS type)`, `x::type` and `TRY_CAST(x AS type)`, from the kinds on the left to those at the top:\n"
    sources = sorted({a for a, _ in casts.CONVERSIONS})
    targets = sorted({b for _, b in casts.CONVERSIONS})
    rows = [(a.value, *("yes" if (a, b) in casts.CONVERSIONS or a is b else "" for b in targets)) for a in sources]
    yield _table(("", *(b.value for b in targets)), rows)
    yield _examples((exp.Cast, exp.TryCast), "CAST, TRY_CAST")


def _families() -> Iterator[str]:
    for family in FAMILIES:
        module = importlib.import_module(f"realtime.transpile.rules.{family}")
        rules, functions = getattr(module, "RULES", {}), getattr(module, "FUNCTIONS", {})
        if family in _ELSEWHERE or not (rules or functions):
            continue
        yield f"## {_title(module)}\n"
        rows = [(_label(kind), *_shortest(kind)) for kind in rules if kind not in _BARE]
        rows += [(_code(name), *_shortest(name)) for name in functions]
        yield _table(("DuckDB", "example", "ClickHouse"), sorted(rows))


def _title(module: ModuleType) -> str:
    return (inspect.getdoc(module) or module.__name__).split("\n\n")[0].replace("\n", " ").removesuffix(".")


def _moments() -> Iterator[str]:
    yield "## Units, parts and formats\n"
    units = [*intervals.MICROSECONDS, *intervals.MONTHS]
    yield f"Intervals: {_codes(units)}, in the plural and abbreviated too.\n"
    yield f"Parts of a moment (`extract`, `date_part`): {_codes(moments.PARTS)}.\n"
    yield f"Codes of `strftime`: {_codes('%' + c for c in formats.WRITTEN)}.\n"
    yield f"Codes of `strptime` and `try_strptime`: {_codes('%' + c for c in formats.READ)}.\n"


def _clauses() -> Iterator[str]:
    for name, title in _CLAUSES:
        yield f"## {title}\n"
        cases = read_file(_fixtures("transpile")[name])
        yield _table(("", "statement"), [(c.title, _code(_ONE_LINE.sub(" ", c.sql))) for c in cases if not c.fails])


def _rewritten() -> Iterator[str]:
    yield "## Rewritten before it is compiled\n"
    for rewrite in (*BEFORE_QUALIFY, *AFTER_QUALIFY):
        yield f"- {_title(sys.modules[rewrite.__module__])}."
    yield ""


def _refused() -> Iterator[str]:
    yield "## Refused\n"
    named = [(_label(kind), *why) for kind, why in (*REFUSED.items(), *refusals.NODES.items())]
    named += [(_code(name), *why) for name, why in refusals.NAMES.items()]
    yield _table(("", "why", "instead"), [tuple(map(_cell, row)) for row in sorted(named)])
    yield "Functions of DuckDB that are refused by their names, so that every one that it lists is on this page:\n"
    by_name = [(_codes(names.split()), reason, remedy) for reason, remedy, names in left_out.GROUPS]
    by_name += [(_code(f"{start}…"), reason, remedy) for start, reason, remedy in left_out.FAMILIES]
    yield _table(("", "why", "instead"), [(names, _cell(why), _cell(instead)) for names, why, instead in by_name])
    yield "Aliases and macros are read as what they stand for: "
    yield f"{_codes([*one_name.ALIASES, *one_name.MACROS])}.\n"
    yield "Each of these is refused, with the reason and the remedy that stand beside it:\n"
    rows = []
    for case in read("refused"):
        if "Duck" not in case.expected:  # what DuckDB does not take is no SQL of ours
            reason, _, remedy = case.expected.replace("\n-- ", "\n").removeprefix("-- ").partition("\n  → ")
            rows.append((case.title, _code(_ONE_LINE.sub(" ", case.sql)), _cell(_reason(reason)), _cell(remedy)))
    yield _table(("", "statement", "why", "instead"), rows)


def _reason(message: str) -> str:
    """The message without its place; the statement stands beside it."""
    return re.sub(r"^\d+(?::\d+)?: ", "", message)


@functools.cache
def _fixtures(folder: str) -> dict[str, Path]:
    return {case.path.stem: case.path for case in read(folder)}


@functools.cache
def _pairs() -> dict[type[exp.Expr] | str, list[tuple[bool, int, Example]]]:
    """Constructs by node or by a function's name, each with what the cases hold of it, and its ClickHouse form."""
    found: dict[type[exp.Expr] | str, list[tuple[bool, int, Example]]] = {}
    for case in read("transpile"):
        for value, written in _projections(case):
            pair = (value.sql("duckdb"), written)
            for node in value.walk():
                key = node.name.lower() if isinstance(node, exp.Anonymous) else type(node)
                rank = (node is not value, len(pair[0]) + len(written), pair)
                found.setdefault(key, []).append(rank)
    return found


def _projections(case: Case) -> Iterator[tuple[exp.Expr, str]]:
    """Expressions of the select list, each with its ClickHouse text; a statement's other parts with none."""
    tree = sqlglot.parse_one(case.sql, read="duckdb")
    if case.fails:
        return
    shown = _written(case.expected)
    values = [p.unalias() for p in tree.selects] if isinstance(tree, exp.Select) else []
    if len(shown) == len(values):
        yield from zip(values, shown, strict=True)
    else:
        yield from ((v, "") for v in values)
    for clause in tree.find_all(exp.Where, exp.Having, exp.Qualify, exp.Join):
        condition = clause.args.get("on") if isinstance(clause, exp.Join) else clause.this
        if condition is not None:
            yield condition, ""


def _written(sql: str) -> list[str]:
    """The select list of a pretty statement."""
    items: list[str] = []
    lines = sql.split("\n")
    for line in lines[1:] if lines[0] == "SELECT" else []:
        if not line.startswith("  "):
            break
        if not items or (items[-1].endswith(",") and not line.startswith("   ")):
            items.append(line.strip())
        else:
            items[-1] += ("" if items[-1].endswith("(") or line.strip().startswith(")") else " ") + line.strip()
    return [re.sub(r' AS [\w"]+,?$', "", i) for i in items]


def _shortest(key: type[exp.Expr] | str) -> Example:
    pairs = sorted(_pairs().get(key, []), key=lambda p: (p[2][1] == "", *p))
    return (_code(pairs[0][2][0]), _code(pairs[0][2][1])) if pairs else ("", "")


def _examples(kinds: Iterable[type[exp.Expr]], title: str) -> str:
    """The shortest example of every pair of types that the cases cast between."""
    best: dict[str, tuple[int, Example]] = {}
    for kind in kinds:
        for inner, size, pair in _pairs().get(kind, []):
            to = re.sub(r".* AS (\w+).*", r"\1", pair[0])
            if not inner and pair[1] and (to not in best or size < best[to][0]):
                best[to] = (size, pair)
    rows = [(_code(pair[0]), _code(pair[1])) for _, pair in (best[to] for to in sorted(best))]
    return _table((title, "ClickHouse"), rows)


@functools.cache
def _names() -> dict[type[exp.Expr], list[str]]:
    """DuckDB's names of the functions that sqlglot has a node for."""
    rows = duckdb.execute("SELECT DISTINCT function_name FROM duckdb_functions()").fetchall()
    known = {name for (name,) in rows}
    names: dict[type[exp.Expr], list[str]] = {}
    for name, build in DuckDB().parser_class.FUNCTIONS.items():
        for size in (1, 2, 3, 0):
            try:
                node = _built(build, [exp.column(c) for c in "abc"[:size]])
            except Exception:  # a builder that wants other arguments
                continue
            if name.lower() in known and name.lower() not in names.get(type(node), []):
                names.setdefault(type(node), []).append(name.lower())
            break
    return names


def _built(build: Callable[..., exp.Expr], arguments: list[exp.Expr]) -> exp.Expr:
    takes_dialect = "dialect" in inspect.signature(build).parameters
    return build(arguments, dialect=DuckDB()) if takes_dialect else build(arguments)


def _label(kind: type[exp.Expr]) -> str:
    if kind in _LABELS:
        return _code(_LABELS[kind])
    if kind in _names():
        return _codes(sorted(_names()[kind]))
    if issubclass(kind, (exp.Binary, exp.Unary)) and not issubclass(kind, exp.Func):
        return _code(kind(this=exp.column("a"), expression=exp.column("b")).sql("duckdb"))
    return _code(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).upper())


def _code(text: str) -> str:
    shown = _ONE_LINE.sub(" ", text)
    shown = shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"
    marks = "``" if "`" in shown else "`"
    return f"{marks}{shown}{marks}".replace("|", "\\|") if shown else ""


def _codes(texts: Iterable[str]) -> str:
    return ", ".join(map(_code, texts))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
