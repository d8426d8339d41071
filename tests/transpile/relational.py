"""Random queries of what stands in FROM and WHERE: series, lists, pivots, LATERAL, correlated and quantified
subqueries, joins with USING. What they compute of it is plain."""

from __future__ import annotations

from tests.transpile.grammar import KINDS, LITERALS, TABLES, Grammar, Scope, listed

_SERIES = ("{f}({n}, t.n % 9{step})", "{f}(t.n % 7, {m}{step})", "{f}({n}, {m}{step})", "{f}(t.n - 2, t.n + 3{step})")
_DATED = (
    "{f}({d}, {d} + INTERVAL {k} {unit}, INTERVAL {j} {unit})",
    "{f}({d}, {e}, INTERVAL {k} YEAR)",
    "{f}({d}, DATE '2018-06-03', INTERVAL {k} YEAR)",
    "{f}({d}, {d} - INTERVAL {k} {unit}, INTERVAL (-{j}) {unit})",
    "{f}(DATE '2018-01-31', TIMESTAMP '2019-03-31 04:00:00', INTERVAL {k} {long})",
)
_JOINED = (", {}", " CROSS JOIN {}", " LEFT JOIN {} ON true")
_OPERATORS = ("=", "<>", "<", "<=", ">", ">=")
_ONE = (
    "count(*)",
    "max({v})",
    "sum({v})",
    "min({v})",
    "count({v}) + 1",
    "coalesce(sum({v}), 0) - count(*)",
    "avg({v})",
)
_COUNTS = ("count(*)", "sum({v})", "max({v})", "coalesce(max({v}), 0)", "count(DISTINCT {v})")
_TIES = ("{b} = {a}", "{a} = {b}", "{b} {op} {a}", "{b} IS NOT DISTINCT FROM {a}", "({b} > {a} OR {a} IS NULL)")
_SHARED_TABLES = ("event", "moment", "txt", "(SELECT id, x AS n, x FROM bag)", "(SELECT id, i AS n, g FROM num)")
_WITH_ID = tuple(t for t in TABLES if "id" in TABLES[t])


class RelationalGrammar(Grammar):
    """One random query for each call of `query`, each built around one relational construct."""

    def query(self) -> str:
        """A query whose answer does not depend on chance."""
        builds = (
            *(self._series, self._lists, self._pivot, self._unpivot, self._lateral, self._tied, self._compared),
            self._using,
        )
        return str(self._pick(builds)())

    def _series(self) -> str:
        function, joined = self._pick(("range", "generate_series")), self._pick(_JOINED)
        if self._pick((True, False)):
            dates = [c for c, k in self._columns("moment", "m") if k in ("date", "ts")]
            text = self._pick(_DATED).format(
                f=function, d=self._pick(dates), e=self._pick(dates), k=self._pick((1, 3, 14, 30)),
                j=self._pick((1, 2, 5)), unit=self._pick(("DAY", "MONTH", "HOUR", "WEEK", "QUARTER", "YEAR")),
                long=self._pick(("DAY", "MONTH", "HOUR")),
            )  # fmt: skip
            return f"SELECT m.id, g.x FROM moment AS m{joined.format(f'{text} AS g(x)')}"
        step = self._pick(("", ", 1", ", 2", ", -1", ", -3"))
        text = self._pick(_SERIES).format(f=function, n=self._pick((-2, 0, 3)), m=self._pick((0, 4, 5)), step=step)
        if self._seldom():
            return f"SELECT t.id, unnest({text}) {self._pick(('', '+ 1', '* t.n'))} AS x FROM txt AS t"
        return f"SELECT t.id, g.x FROM txt AS t{joined.format(f'{text} AS g(x)')}"

    def _lists(self) -> str:
        first, second = self._pick(("b.xs", "b.ys", "[b.x, b.id]")), self._pick(("b.xs", "b.ys", "range(b.id)"))
        where = self._pick(("", " WHERE b.x > 1", " WHERE b.id <> 3"))
        if self._pick((True, False)):
            order = self._pick(("", " ORDER BY 1, 2, 3", " ORDER BY 2 DESC, 3, 1 LIMIT 4"))
            plus = self._pick(("", " + 1", " + b.id"))
            return f"SELECT b.id, unnest({first}){plus} AS x, unnest({second}) AS y FROM bag AS b{where}{order}"
        number, names, shown = self._pick((("", "u(x)", ""), (" WITH ORDINALITY", "u(x, o)", ", u.o")))
        source = f"bag AS b{self._pick(_JOINED).format(f'UNNEST({first}){number} AS {names}')}"
        joined = self._pick(("", " LEFT JOIN event AS e ON e.id = u.x", " JOIN event AS e ON e.n = u.x"))
        return f"SELECT b.id, u.x{shown}{', e.body' if joined else ''} FROM {source}{joined}{where}"

    def _pivot(self) -> str:
        key, values = self._pick((("id % 3", "0, 1, NULL"), ("g", "'a', 'b', ''"), ("p", "true, false")))
        column = self._pick(("i", "s", "m"))
        call = self._pick(_COUNTS).format(v=column)
        source = f"(SELECT {key} AS k, u % 2 AS r, {column} FROM num)"
        by = self._pick(("", " GROUP BY r"))
        if self._pick((True, False)):
            return f"SELECT * FROM {source} PIVOT ({call} AS a, count({column}) FOR k IN ({values}){by})"
        return f"PIVOT {source} ON k IN ({values}) USING {call} AS a, min({column}) AS z{by}"

    def _unpivot(self) -> str:
        table = self._pick(("num", "event", "moment", "edge"))
        columns = {k: [c for c, x in TABLES[table].items() if x == k] for k in KINDS}
        kind = self._pick([k for k in KINDS if len(columns[k]) > 1])
        chosen = ", ".join(dict.fromkeys(self._pick(columns[kind]) for _ in range(3)))
        nulls = self._pick(("", "INCLUDE NULLS "))
        source = f"{table} UNPIVOT {nulls}(v FOR k IN ({chosen}))"
        return str(
            self._pick((f"SELECT * FROM {source}", f"SELECT k, count(*) AS c, max(v) AS v FROM {source} GROUP BY k"))
        )

    def _pair(self) -> tuple[str, str, str]:
        """Two tables ``t0`` and ``s0``, and how they are tied: by equalities, inequalities, or what holds for NULL."""
        one, two = self._pick(_WITH_ID), self._pick(_WITH_ID)
        outer, inner = self._columns(one, "t0"), self._columns(two, "s0")
        pairs = [(a, b) for a, x in outer for b, y in inner if x == y and x in ("int", "text", "date", "ts", "dbl")]
        ties = []
        for _ in self._few(1, 2):
            a, b = self._pick(pairs)
            ties.append(self._pick(_TIES).format(a=a, b=b, op=self._pick(_OPERATORS)))
        if self._seldom():
            ties.append(self._value("bool", 1, inner, ""))
        return one, two, " AND ".join(ties)

    def _lateral(self) -> str:
        one, two, ties = self._pair()
        value = self._sought("int", self._columns(two, "s0"))
        origin = f"FROM {two} AS s0 WHERE {ties}"
        order = self._pick(("1, 2", "2 DESC", "s0.id"))
        queries = (
            f"SELECT {self._pick(_ONE).format(v=value)} AS v, count(*) AS w {origin}",
            f"SELECT {value} AS v, s0.id AS w {origin} ORDER BY {order} LIMIT {self._pick((1, 2))}",
            f"SELECT {self._pick(('', 'DISTINCT '))}{value} AS v, t0.id + 1 AS w {origin}",
            f"SELECT {value} AS v, count(*) AS w {origin} GROUP BY 1",
        )
        joins = (("JOIN LATERAL", " ON true"), ("LEFT JOIN LATERAL", " ON true"), (", LATERAL", ""), (",", ""))
        join, on = self._pick(joins)
        shown = self._pick(("x.v, x.w", "coalesce(x.v, 0) AS v, x.w"))
        return f"SELECT t0.id, {shown} FROM {one} AS t0 {join} ({self._pick(queries)}) AS x{on}"

    def _tied(self) -> str:
        """A correlated subquery as a value or in the filter."""
        one, two, ties = self._pair()
        origin = f"FROM {two} AS s0 WHERE {ties}"
        value = self._sought("int", self._columns(two, "s0"))
        if self._pick((True, False)):
            found = self._pick(
                (
                    f"(SELECT {self._pick(_ONE).format(v=value)} {origin})",
                    f"(SELECT {value} {origin} ORDER BY s0.id {self._pick(('', 'DESC'))} LIMIT 1)",
                )
            )
            if self._pick((True, False)):
                return f"SELECT t0.id, {found} AS v FROM {one} AS t0"
            found = f"{self._value('int', 0, self._columns(one, 't0'), '')} {self._pick(_OPERATORS)} {found}"
        else:
            exists = (f"SELECT 1 {origin}", f"SELECT 1 {origin} GROUP BY {value} HAVING count(*) > 1")
            found = f"{self._pick(('', 'NOT '))}EXISTS ({self._pick(exists)})"
        where = self._pick(("", " WHERE {}", " WHERE {} OR t0.id > 4"))
        shown = found if not where or self._seldom() else "1"
        return f"SELECT t0.id, {shown} AS v FROM {one} AS t0{where.format(found)}"

    def _compared(self) -> str:
        """IN, ANY and ALL of subqueries, tied or not, with one or two columns."""
        one, two, ties = self._pair()
        outer, inner = self._columns(one, "t0"), self._columns(two, "s0")
        kinds = [self._pick(("int", "int", "text", "dbl"))]
        word = f"{self._pick(_OPERATORS)} {self._pick(('ANY', 'ALL'))}"
        if self._pick((True, True, False)):
            word = self._pick(("IN", "NOT IN"))
            kinds += self._pick(([], ["int"]))
        sought = ", ".join(self._value(k, 0, outer, "") for k in kinds)
        values = ", ".join(self._sought(k, inner) for k in kinds)
        where = self._pick(("", f" WHERE {ties}", f" WHERE {self._value('bool', 0, inner, '')}"))
        group = self._pick(("", "", f" GROUP BY {', '.join(str(i + 1) for i in range(len(kinds)))}"))
        test = f"({sought}) {word} (SELECT {values} FROM {two} AS s0{where}{group})"
        uses = (
            f"SELECT t0.id, {test} AS v FROM {one} AS t0",
            f"SELECT t0.id FROM {one} AS t0 WHERE {test}",
            f"SELECT t0.id FROM {one} AS t0 WHERE {test} OR t0.id = 3",
        )
        return str(self._pick(uses))

    def _sought(self, kind: str, inner: Scope) -> str:
        return str(self._pick([c for c, k in inner if k == kind] or LITERALS[kind]))

    def _using(self) -> str:
        tables = [self._pick(_SHARED_TABLES) for _ in self._few(2, 3)]
        shared = self._pick((("id",), ("id", "n")))
        sql = f"{tables[0]} AS t0"
        for i, table in enumerate(tables[1:], 1):
            kind = self._pick(("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "FULL JOIN"))
            sql += f" {kind} {table} AS t{i} USING ({', '.join(shared)})"
        kept = self._pick(("", " SEMI JOIN flag AS f ON f.id = t0.id", " ANTI JOIN flag AS f ON f.id = t0.id"))
        return f"SELECT {listed([*shared, *(f't{i}.n' for i in range(len(tables)))])} FROM {sql}{kept}"
