"""Random queries: compiled they give the same answer, fail where DuckDB fails, or are refused.

`python -m tests.transpile.verdicts --budget 10000 --seed 7` tries more of them.
"""

from __future__ import annotations

import collections

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime.clickhouse.client import ClickHouse
from realtime.project.binder import Binder
from tests.transpile.conftest import Loaded
from tests.transpile.verdicts import GRAMMARS, Verdict, judged, random_query

BUDGET = 200


@st.composite
def queries(draw: st.DrawFn) -> str:
    """A query, drawn pick by pick, so that hypothesis can make it smaller."""
    grammar = draw(st.sampled_from(GRAMMARS))
    return grammar(lambda items: draw(st.sampled_from(items))).query()


def test_generated_queries_are_exact_or_refused(schema: Binder, loaded: list[Loaded], clickhouse: ClickHouse) -> None:
    @settings(
        max_examples=BUDGET, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(queries(), st.sampled_from(loaded))
    def check(sql: str, tables: Loaded) -> None:
        found = judged(sql, schema, tables, clickhouse)
        assert found.verdict not in (Verdict.SILENT, Verdict.LOUD), str(found)

    check()


def test_random_queries_are_mostly_compiled(schema: Binder, loaded: list[Loaded], clickhouse: ClickHouse) -> None:
    found = [judged(random_query(n), schema, loaded[n % 5 // 2], clickhouse) for n in range(BUDGET)]
    wrong = [str(f) for f in found if f.verdict in (Verdict.SILENT, Verdict.LOUD)]
    assert not wrong, wrong[0]
    counts = collections.Counter(f.verdict for f in found)
    assert counts[Verdict.SAME] > 0.8 * BUDGET, counts
