"""Random queries over the tables of tests/fixtures, typed by construction, in the grammar that the compiler supports.

`Grammar` is driven by one function that picks from a list: hypothesis's, which can shrink, or a random generator's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

Pick = Callable[[Sequence[Any]], Any]
Scope = list[tuple[str, str]]
"""Columns in sight: how they are written, and their kind."""
Source = tuple[str, Scope, str]
"""FROM, what it brings into sight, and a column that is another in every row, or nothing."""
Selected = tuple[str, list[str]]
"""A query, and the kinds of its columns, which are called ``c0``, ``c1`` …"""
KINDS = ("int", "dec", "dbl", "bool", "text", "date", "ts")
TABLES: dict[str, dict[str, str]] = {
    "num": {
        "id": "int", "i": "int", "b": "int", "s": "int", "u": "int", "h": "int", "g": "text", "d": "dbl", "f": "dbl",
        "m": "dec", "w": "dec", "p": "bool",
    },
    "edge": {"id": "int", "t": "int", "s": "int", "i": "int", "b": "int", "ut": "int", "ub": "int", "m": "dec"},
    "txt": {"id": "int", "s": "text", "q": "text", "n": "int"},
    "digits": {"id": "int", "s": "text"},
    "moment": {"id": "int", "d": "date", "d2": "date", "ts": "ts", "ts2": "ts", "n": "int"},
    "event": {
        "id": "int", "stream": "text", "chatter": "text", "seen": "ts", "body": "text", "amount": "dec",
        "score": "dbl", "n": "int",
    },
    "stream": {"name": "text", "owner": "text", "viewers": "int"},
    "bag": {"id": "int", "x": "int", "xs": "ints", "ss": "texts"},
    "flag": {"id": "int", "a": "bool", "b": "bool", "c": "bool"},
}  # fmt: skip
LITERALS: dict[str, tuple[str, ...]] = {
    "int": ("0", "1", "2", "(-1)", "7", "100", "3000000000"),
    "dec": ("0.5", "1.25", "(-2.50)", "0.00", "99.99"),
    "dbl": ("0.5::DOUBLE", "2::DOUBLE", "'nan'::DOUBLE", "1e3::DOUBLE", "(-0.0)::DOUBLE", "'-inf'::DOUBLE"),
    "bool": ("true", "false", "NULL::BOOLEAN"),
    "text": ("''", "'a'", "'red'", "'é'", "'%b_'", "'12'", "'ann'", "NULL::VARCHAR"),
    "date": ("(DATE '2018-05-01')", "(DATE '1969-12-31')", "(DATE '2024-02-29')", "NULL::DATE"),
    "ts": ("(TIMESTAMP '2018-05-01 10:20:30.5')", "(TIMESTAMP '1969-12-31 23:59:59.999999')", "NULL::TIMESTAMP"),
}
# How a value of a kind is made of others: ``{int}`` is an expression of that kind, ``{n}`` a small number.
EXPRESSIONS: dict[str, tuple[str, ...]] = {
    "int": (
        "({int} + {int})", "({int} - {int})", "({int} * {n})", "({int} // {int})", "({int} % {int})", "abs({int})",
        "(-{int})", "length({text})", "strpos({text}, {text})", "sign({int})", "round({int}, -1)", "{dec}::BIGINT",
        "{dbl}::BIGINT", "{bool}::INTEGER", "try_cast({text} AS INTEGER)", "try_cast({dbl} AS SMALLINT)",
        "try_cast({int} AS TINYINT)", "date_diff('{unit}', {date}, {date})", "date_diff('{span}', {ts}, {ts})",
        "year({date})", "month({ts})", "extract({part} FROM {ts})", "({date} - {date})", "greatest({int}, {int})",
        "least({int}, {int}, {n})", "({int} & {n})", "epoch_ms({ts})", "date_sub('day', {ts}, {ts})", "ascii({text})",
        "unicode({text})", "bit_count({int})", "date_part('{part}', {date})", "floor({dbl})::BIGINT",
        "try_cast({dec} AS INTEGER)", "strlen({text})", "({int} << {n})", "({int} >> {n})", "xor({int}, {n})",
        "levenshtein({text}, {text})", "dayofweek({date})", "hour({ts})", "ceil({dec})::INTEGER",
    ),
    "dec": (
        "({dec} + {dec})", "({dec} - {int})", "({dec} * {dec})", "({dec} % {dec})", "round({dec}, 1)", "round({dec})",
        "{int}::DECIMAL(20, 2)", "abs({dec})", "(-{dec})", "greatest({dec}, {dec})", "least({dec}, {int})",
        "try_cast({text} AS DECIMAL(10, 2))", "try_cast({dbl} AS DECIMAL(12, 3))", "{dec}::DECIMAL(12, 1)",
        "trunc({dec})",
    ),
    "dbl": (
        "({dbl} + {dbl})", "({dbl} - {int})", "({dbl} * {dbl})", "({int} / {int})", "({dec} / {int})", "abs({dbl})",
        "round({dbl}, 2)", "floor({dbl})", "ceil({dbl})", "trunc({dbl})", "{int}::DOUBLE", "{dec}::DOUBLE", "(-{dbl})",
        "greatest({dbl}, {dbl})", "least({dbl}, {dbl})", "sqrt(abs({dbl}))", "epoch({ts})", "sign({dbl})::DOUBLE",
        "try_cast({text} AS DOUBLE)", "round({dbl})", "({dbl} // {dbl})", "({dec} * {dbl})",
    ),
    "bool": (
        "({int} {op} {int})", "({dec} {op} {int})", "({dbl} {op} {dbl})", "({dbl} {op} {int})", "({text} {op} {text})",
        "({date} {op} {date})", "({ts} {op} {date})", "({bool} AND {bool})", "({bool} OR {bool})", "(NOT {bool})",
        "({int} IS NULL)", "({text} IS NOT NULL)", "({dbl} IS NULL)", "({int} IN ({n}, {int}, NULL))",
        "({text} IN ('a', {text}))", "({int} NOT IN ({n}, {n}))", "({text} NOT IN ({text}, 'x'))",
        "({int} BETWEEN {n} AND {int})", "({dec} BETWEEN {dec} AND {dec})", "({text} LIKE {pattern})",
        "({text} NOT LIKE {pattern})", "({text} ILIKE {pattern})", "starts_with({text}, {text})",
        "contains({text}, {text})", "regexp_matches({text}, '[a-c]+')", "({int} IS DISTINCT FROM {int})",
        "({text} IS NOT DISTINCT FROM {text})", "({bool} IS TRUE)", "({bool} IS NOT FALSE)", "{int}::BOOLEAN",
        "try_cast({text} AS BOOLEAN)", "isnan({dbl})", "({bool} = {bool})", "ends_with({text}, {text})",
        "({text} SIMILAR TO '[a-z]+')", "({dbl} IN ({dbl}, {n}))", "({date} IN ({date}, DATE '2018-05-01'))",
    ),
    "text": (
        "({text} || {text})", "substr({text}, {n}, {n})", "substr({text}, {int}, {n})", "left({text}, {n})",
        "right({text}, {n})", "upper({text})", "lower({text})", "trim({text})", "replace({text}, 'a', {text})",
        "{int}::VARCHAR", "{dec}::VARCHAR", "{bool}::VARCHAR", "{date}::VARCHAR", "{ts}::VARCHAR",
        "concat({text}, {int}, 'x')", "concat_ws('-', {text}, {text})", "lpad({text}, {n}, '*')",
        "split_part({text}, 'a', {k})", "strftime({ts}, '%Y-%m-%d %H:%M')", "md5({text})", "dayname({date})",
        "regexp_replace({text}, '[aeiou]', '_', 'g')", "regexp_extract({text}, '([a-z])([a-z]+)', 2)",
        "({text} || {int})",
        "greatest({text}, {text})", "least({text}, 'm')", "reverse('abc')", "repeat({text}, 2)",
        "rpad({text}, {n}, 'ab')",
        "ltrim({text}, 'a')", "{text}[{k}]", "chr({k} + 96)", "translate({text}, 'ab', 'xy')", "sha256({text})",
    ),
    "date": (
        "{ts}::DATE", "({date} + {n})", "({date} - {n})", "last_day({date})", "date_trunc('{unit}', {date})::DATE",
        "greatest({date}, {date})", "make_date(2020, {k}, {k})",
    ),
    "ts": (
        "({ts} + INTERVAL {k} {step})", "({ts} - INTERVAL {k} {step})", "date_trunc('{span}', {ts})",
        "date_trunc('{unit}', {ts})", "{date}::TIMESTAMP", "({date} + INTERVAL {k} {step})",
        "time_bucket(INTERVAL {k} {step}, {ts})", "least({ts}, {ts})",
        "({ts} + to_hours({n}))", "try_strptime({text}, '%Y-%m-%d')", "{ts}::TIMESTAMP_S::TIMESTAMP",
    ),
}  # fmt: skip
ANY = (
    "CASE WHEN {bool} THEN {self} END", "CASE WHEN {bool} THEN {self} ELSE {self} END", "coalesce({self}, {self})",
    "CASE {int} WHEN {n} THEN {self} WHEN {int} THEN {self} END", "nullif({self}, {self})",
    "if({bool}, {self}, {self})",
    "ifnull({self}, {self})",
)  # fmt: skip
AGGREGATES: dict[str, tuple[str, ...]] = {
    "int": (
        "count(*)", "count({any})", "count(DISTINCT {any})", "sum({int})", "min({int})", "max({int})",
        "count_if({bool})",
        "sum(DISTINCT {int})", "arg_max({int}, {key})", "bit_or({int})", "quantile_disc({int}, 0.5)",
        "sum({bool}::INT)",
        "count(DISTINCT ({any}, {any}))",
    ),
    "dec": ("sum({dec})", "min({dec})", "max({dec})", "arg_min({dec}, {key})", "sum(DISTINCT {dec})"),
    "dbl": ("avg({int})", "avg({dec})", "median({int})", "min({dbl})", "max({dbl})", "stddev({small})",
    "avg(DISTINCT {int})",
            "quantile_cont({int}, 0.25)", "median({dec})", "var_pop({small})", "quantile_cont({dec}, 0.75)"),
    "bool": ("bool_and({bool})", "bool_or({bool})", "min({bool})"),
    "text": ("min({text})", "max({text})", "arg_max({text}, {key})", "string_agg({text}, ',' ORDER BY {key})",
             "first({text} ORDER BY {key})", "string_agg(DISTINCT lower({leaf}), '|' ORDER BY lower({leaf}))"),
    "date": ("min({date})", "max({date})", "first({date} ORDER BY {key} DESC)"),
    "ts": ("min({ts})", "max({ts})", "arg_min({ts}, {key})"),
}  # fmt: skip
WINDOWS: dict[str, tuple[str, ...]] = {
    "int": ("row_number()", "rank()", "dense_rank()", "ntile({k})", "lag({int})", "lead({int}, {k}, {n})",
            "first_value({int})", "last_value({int})", "count(*)", "sum({int})", "max({int})", "nth_value({int}, {k})"),
    "dec": ("sum({dec})", "lag({dec}, 2)", "min({dec})"),
    "dbl": ("avg({int})", "percent_rank()", "cume_dist()", "first_value({dbl})", "max({dbl})"),
    "bool": ("bool_or({bool})", "lag({bool})"),
    "text": ("lag({text})", "first_value({text})", "max({text})", "lead({text}, 1, 'none')"),
    "date": ("lag({date})", "max({date})"),
    "ts": ("lead({ts})", "min({ts})"),
}  # fmt: skip
_SMALL: dict[str, tuple[str, ...]] = {
    "n": ("0", "1", "2", "3", "5", "10", "(-1)"),
    "k": ("1", "2", "3"),
    "op": ("=", "<>", "<", "<=", ">", ">="),
    "unit": ("day", "week", "month", "quarter", "year"),
    "span": ("second", "minute", "hour", "day", "week", "month", "millisecond"),
    "part": ("year", "month", "day", "hour", "minute", "second", "dow", "isodow", "doy", "week", "quarter", "epoch"),
    "step": ("DAY", "HOUR", "MINUTE", "MONTH", "WEEK", "SECOND", "YEAR"),
    "pattern": ("'%a%'", "'_b%'", "'a'", "'%\\%'", "'%é'"),
}
_FRAMES = ("", "", "", " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW", " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
           " ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING", " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
           " RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING")  # fmt: skip
_SLOT = re.compile(r"{(\w+)}")
_JOINS = ("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN")


class Grammar:
    """One random query for each call of `query`."""

    def __init__(self, pick: Pick) -> None:
        self._pick = pick

    def query(self) -> str:
        """A query whose answer does not depend on chance."""
        build = self._pick((self._ordered, self._ordered, self._windowed, self._set, self._nested, self._filtered))
        return str(build())

    def _ordered(self) -> str:
        sql, kinds = self._selected(self._source())
        if not self._seldom():
            return sql
        ways = ("", " DESC", " NULLS FIRST", " DESC NULLS LAST")
        keys = ", ".join(f"{i + 1}{self._pick(ways)}" for i in range(len(kinds)))
        return f"{sql} ORDER BY {keys}{self._pick(('', ' LIMIT 3', ' LIMIT 4 OFFSET 2'))}"

    def _selected(self, source: Source) -> Selected:
        return self._grouped(source) if self._pick((False, True)) else self._plain(source)

    def _few(self, least: int, most: int) -> range:
        return range(self._pick(range(least, most + 1)))

    def _seldom(self) -> bool:
        return bool(self._pick((False, False, False, True)))

    def _source(self, tables: Sequence[str] = tuple(TABLES), alias: str = "t") -> Source:
        first = self._pick(tables)
        sql, scope = f"{first} AS {alias}0", self._columns(first, f"{alias}0")
        key = f"{alias}0.id" if "id" in TABLES[first] else ""
        if not self._seldom():
            return sql, scope, key
        second, how = self._pick(tuple(TABLES)), self._pick(_JOINS)
        other = self._columns(second, f"{alias}1")
        pairs = [(a, b) for a, x in scope for b, y in other if x == y and x in ("int", "text", "date")]
        if not pairs:
            return f"{sql} CROSS JOIN stream AS {alias}1", scope + self._columns("stream", f"{alias}1"), ""
        a, b = self._pick(pairs)
        more = f" AND {self._value('bool', 1, scope + other, '')}" if how == "JOIN" and self._seldom() else ""
        if how in ("SEMI JOIN", "ANTI JOIN"):
            return f"{sql} {how} {second} AS {alias}1 ON {a} = {b}", scope, key
        return f"{sql} {how} {second} AS {alias}1 ON {a} = {b}{more}", scope + other, ""

    def _columns(self, table: str, alias: str) -> Scope:
        return [(f"{alias}.{name}", kind) for name, kind in TABLES[table].items()]

    def _value(self, kind: str, depth: int, scope: Scope, key: str) -> str:
        columns = [c for c, k in scope if k == kind]
        if depth <= 0 or (columns and self._seldom()):
            return str(self._pick(columns if columns and self._pick((1, 1, 1, 1, 1, 0)) else LITERALS[kind]))
        template = self._pick(ANY if self._seldom() else EXPRESSIONS[kind])
        return self._filled(template, kind, depth - 1, scope, key)

    def _filled(self, template: str, kind: str, depth: int, scope: Scope, key: str) -> str:
        leaf = self._value("text", 0, scope, key) if "{leaf}" in template else ""

        def fill(slot: re.Match[str]) -> str:
            name = slot[1]
            if name in _SMALL:
                return str(self._pick(_SMALL[name]))
            if name in ("key", "leaf"):
                return key if name == "key" else leaf
            if name == "small":
                return self._value("int", 0, scope, key)
            wanted = self._pick(KINDS) if name == "any" else kind if name == "self" else name
            return self._value(wanted, depth, scope, key)

        return _SLOT.sub(fill, template)

    def _called(self, table: dict[str, tuple[str, ...]], kind: str, scope: Scope, key: str) -> str:
        known = [t for t in table[kind] if key or "{key}" not in t]
        return self._filled(self._pick(known), kind, self._pick((0, 0, 1)), scope, key)

    def _plain(self, source: Source, kinds: Sequence[str] = ()) -> Selected:
        sql, scope, key = source
        kinds = list(kinds) or [self._pick(KINDS) for _ in self._few(1, 3)]
        values = [self._value(k, self._pick((1, 2, 2)), scope, key) for k in kinds]
        where = f" WHERE {self._value('bool', 1, scope, key)}" if self._seldom() else ""
        distinct = "DISTINCT " if self._seldom() else ""
        return f"SELECT {distinct}{listed(values)} FROM {sql}{where}", list(kinds)

    def _grouped(self, source: Source) -> Selected:
        sql, scope, key = source
        keys = [self._pick(KINDS) for _ in self._few(0, 2)]
        values = [self._value(k, self._pick((0, 0, 1)), scope, key) for k in keys]
        kinds = [self._pick(KINDS) for _ in self._few(1, 3)]
        values += [self._aggregate(k, scope, key) for k in kinds]
        where = f" WHERE {self._value('bool', 1, scope, key)}" if self._seldom() else ""
        numbers = ", ".join(str(i + 1) for i in range(len(keys)))
        group = f" GROUP BY {self._pick((numbers, 'ALL'))}" if keys else ""
        op, n = self._pick(_SMALL["op"]), self._pick(_SMALL["n"])
        having = f" HAVING {self._called(AGGREGATES, 'int', scope, key)} {op} {n}" if keys and self._seldom() else ""
        return f"SELECT {listed(values)} FROM {sql}{where}{group}{having}", [*keys, *kinds]

    def _aggregate(self, kind: str, scope: Scope, key: str) -> str:
        call = self._called(AGGREGATES, kind, scope, key)
        if self._seldom():
            call += f" FILTER (WHERE {self._value('bool', 1, scope, key)})"
        return f"coalesce({call}, {self._pick(LITERALS[kind])})" if self._seldom() else call

    def _windowed(self) -> str:
        sql, scope, key = self._source([t for t in TABLES if "id" in TABLES[t]])
        key = key or "t0.id, t1.id"  # a join shows no row twice if its keys are not repeated
        if " JOIN " in sql and "t1" in "".join(c for c, _ in scope):
            sql, scope, key = "event AS t0", self._columns("event", "t0"), "t0.id"
        kinds = [self._pick(KINDS) for _ in self._few(1, 2)]
        values = [self._over(k, scope, key) for k in kinds]
        qualify = f" QUALIFY {self._over('int', scope, key)} > {self._pick(_SMALL['n'])}" if self._seldom() else ""
        return f"SELECT {key} AS k, {listed(values)} FROM {sql}{qualify}"

    def _over(self, kind: str, scope: Scope, key: str) -> str:
        part = f"PARTITION BY {self._value(self._pick(KINDS), 0, scope, key)} " if self._seldom() else ""
        first = f"{self._value(self._pick(KINDS), 0, scope, key)}{self._pick(('', ' DESC', ' NULLS FIRST'))}, "
        order = f"ORDER BY {first if self._seldom() else ''}{key}{self._pick(('', ' DESC'))}"
        function = self._called(WINDOWS, kind, scope, "")
        framed = function.startswith(("first", "last", "nth", "count", "sum", "max", "min", "avg", "bool"))
        return f"{function} OVER ({part}{order}{self._pick(_FRAMES) if framed else ''})"

    def _set(self) -> str:
        kinds = [self._pick(KINDS) for _ in self._few(1, 2)]
        sides = [self._plain(self._source(), kinds)[0] for _ in range(2)]
        return str(self._pick((" UNION ALL ", " UNION ", " EXCEPT ", " INTERSECT "))).join(sides)

    def _nested(self) -> str:
        inner, kinds = self._selected(self._source())
        scope = [(f"q.c{i}", k) for i, k in enumerate(kinds)]
        common = bool(self._pick((True, False)))
        source = ("q" if common else f"({inner}) AS q", scope, "")
        if self._seldom():
            source = (f"{source[0]} JOIN event AS e ON e.n = q.c0", scope, "")
            if kinds[0] != "int":
                source = ("q CROSS JOIN flag" if common else f"({inner}) AS q CROSS JOIN flag", scope, "")
        outer = self._selected(source)[0]
        return f"WITH q AS ({inner}) {outer}" if common else outer

    def _filtered(self) -> str:
        sql, scope, key = self._source()
        inner, own, _ = self._source(alias="s")
        kind = self._pick(("int", "text"))
        value, sought = self._value(kind, 0, scope, key), self._value(kind, 0, own, "")
        as_type = "::BIGINT" if kind == "int" else ""
        aggregate = self._called({"int": ("max({int})", "count(*)", "min({int})", "sum({int})")}, "int", own, "")
        tied = [(a, b) for a, x in scope for b, y in own if x == y and x in ("int", "text")]
        conditions = [
            f"{value}{as_type} IN (SELECT {sought}{as_type} FROM {inner})",
            f"{value}{as_type} NOT IN (SELECT {sought}{as_type} FROM {inner} WHERE {self._value('bool', 0, own, '')})",
            f"{self._value('int', 0, scope, key)} > (SELECT {aggregate} FROM {inner})",
        ]
        if tied:
            a, b = self._pick(tied)
            conditions += [
                f"EXISTS (SELECT 1 FROM {inner} WHERE {a} = {b})",
                f"NOT EXISTS (SELECT 1 FROM {inner} WHERE {a} = {b})",
                f"{self._value('int', 0, scope, key)} < (SELECT {aggregate} FROM {inner} WHERE {a} = {b})",
            ]
        kinds = [self._pick(KINDS) for _ in self._few(1, 2)]
        values = [self._value(k, 1, scope, key) for k in kinds]
        return f"SELECT {listed(values)} FROM {sql} WHERE {self._pick(conditions)}"


def listed(values: Sequence[str]) -> str:
    """A select list of ``values``, called ``c0``, ``c1`` …"""
    return ", ".join(f"{v} AS c{i}" for i, v in enumerate(values))
