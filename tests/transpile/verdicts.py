"""What becomes of a query that nobody wrote: the same in both engines, refused, or wrong.

``python -m tests.transpile.verdicts --budget 10000 --seed 7`` tries that many random queries against a ClickHouse of
its own and prints those that are wrong; each query has a seed, with which it comes again.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import enum
import random
import re
import sys
import tempfile
from pathlib import Path

import duckdb
from sqlglot import exp

from realtime.clickhouse import local
from realtime.clickhouse.client import ClickHouse
from realtime.emit.readable import readable
from realtime.errors import CommandError, RefusedError
from realtime.project.binder import Binder
from realtime.settings import Settings
from realtime.transpile.passes.to_databases import to_databases
from realtime.transpile.settings import with_settings
from realtime.transpile.transpile import Compiled, transpile
from tests.transpile import engines
from tests.transpile.conftest import Loaded
from tests.transpile.grammar import Grammar
from tests.transpile.relational import RelationalGrammar

# Errors about values: DuckDB may not have come to compute them, in a branch or of a row that a filter drops.
_ABOUT_VALUES = {"395", "70", "153", "407", "349", "321", "6", "41", "69", "131"}
_TOLERANCE = 1e-9
GRAMMARS: tuple[type[Grammar], ...] = (Grammar, RelationalGrammar)


class Verdict(enum.StrEnum):
    """``EARLIER``: only ClickHouse failed, over a value. ``LATER``: only DuckDB did, over one side of a set operation
    that the other side made needless. ``SILENT``: another answer, or none of DuckDB's errors."""

    SAME = "same"
    FAIL = "both fail"
    REFUSED = "refused"
    UNBOUND = "not taken by DuckDB"
    EARLIER = "fails in ClickHouse only, over a value"
    LATER = "fails in DuckDB only, over a needless side"
    LOUD = "fails in ClickHouse"
    SILENT = "differs"


@dataclasses.dataclass(frozen=True)
class Judged:
    """A verdict on ``sql``, and what was seen."""

    verdict: Verdict
    sql: str
    seen: str = ""

    def __str__(self) -> str:
        return f"{self.verdict}\n  {self.sql}\n  {self.seen}"


def judged(sql: str, binder: Binder, tables: Loaded, clickhouse: ClickHouse) -> Judged:
    """Runs ``sql`` in both engines over ``tables``."""
    try:
        compiled = transpile(sql, binder)
    except RefusedError as error:
        unbound = "DuckDB does not take" in error.message
        return Judged(Verdict.UNBOUND if unbound else Verdict.REFUSED, sql, f"{error.construct}: {error.message}")
    wanted = _answer_of_duckdb(sql, compiled, tables)
    found = _answer_of_clickhouse(compiled, tables, clickhouse)
    if isinstance(wanted, str) and isinstance(found, str):
        return Judged(Verdict.FAIL, sql, f"{wanted}; {found}")
    if isinstance(found, str):
        code = re.search(r"Code: (\d+)", found)
        by_value = code is not None and code[1] in _ABOUT_VALUES
        return Judged(Verdict.EARLIER if by_value else Verdict.LOUD, sql, found)
    if isinstance(wanted, str):
        needless = compiled.tree.find(exp.Except, exp.Intersect) is not None
        verdict = Verdict.LATER if needless else Verdict.SILENT
        return Judged(verdict, sql, f"DuckDB: {wanted}; ClickHouse: {found[:3]}")
    return _compared(sql, compiled, wanted, found)


def _compared(sql: str, compiled: Compiled, wanted: list[engines.Row], found: list[engines.Row]) -> Judged:
    if compiled.tree.args.get("order") is None:
        wanted, found = (engines.in_any_order(rows, exact=False) for rows in (wanted, found))
    pairs = zip(wanted, found, strict=False)
    different = [(a, b) for a, b in pairs if not engines.same(a, b, _TOLERANCE)]
    if not different and len(wanted) == len(found):
        return Judged(Verdict.SAME, sql)
    return Judged(Verdict.SILENT, sql, f"{len(wanted)} and {len(found)} rows; DuckDB, ClickHouse: {different[:2]}")


def _answer_of_duckdb(sql: str, compiled: Compiled, tables: Loaded) -> list[engines.Row] | str:
    try:
        return engines.ask_duckdb(tables.duckdb, sql, {}, compiled.columns)
    except duckdb.Error as error:
        return str(error).splitlines()[0]


def _answer_of_clickhouse(compiled: Compiled, tables: Loaded, clickhouse: ClickHouse) -> list[engines.Row] | str:
    text = readable(with_settings(to_databases(compiled.tree.copy(), tables.database)))
    try:
        return engines.ask_clickhouse(clickhouse, text, {}, compiled.columns)
    except CommandError as error:
        return str(error)


def random_query(seed: int) -> str:
    """The query of this seed, of one grammar or the other in turn."""
    return GRAMMARS[seed % 2](random.Random(seed).choice).query()


def main() -> int:
    """Tries a budget of queries; 1 where one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.load(Path(folder), {"DUET_CLICKHOUSE_PORT": "0"})
        local.start(settings)
        endpoint = local.local_endpoint(settings)
        assert endpoint is not None
        try:
            with ClickHouse(endpoint) as clickhouse:
                return _tried(options.seed, options.budget, clickhouse)
        finally:
            local.daemon(settings).stop()


def _tried(seed: int, budget: int, clickhouse: ClickHouse) -> int:
    binder, counts = engines.schema(), collections.Counter[str]()
    loaded = [Loaded(v, engines.duckdb_tables(v), f"tried_{v}") for v in engines.VARIANTS]
    for tables in loaded:
        engines.load(tables.duckdb, clickhouse, tables.database, tables.variant)
    for number in range(seed * budget, (seed + 1) * budget):
        tables = loaded[number % 5 // 2]
        found = judged(random_query(number), binder, tables, clickhouse)
        counts[found.verdict] += 1
        if found.verdict in (Verdict.SILENT, Verdict.LOUD):
            print(f"{number} over {tables.variant}: {found}", flush=True)
    print(dict(counts))
    return 1 if counts[Verdict.SILENT] or counts[Verdict.LOUD] else 0


if __name__ == "__main__":
    sys.exit(main())
