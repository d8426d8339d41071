"""Cut-over conditions in views: the SQL stays the same, but for the condition."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from realtime.deploy.diff import states_of
from realtime.deploy.narrow import narrowed, selected
from realtime.errors import ConfigError
from realtime.planner.ir import Plan, View
from tests.planner.small import Declared, planned, project
from tests.planner.sources import SOURCES
from tests.transpile.test_states import COLUMNS, MODELS

INSERTABLE = Path(__file__).parents[1] / "planner" / "insertable.sql"
EVENTS = "from {{ source('app', 'events') }}"
NEW_YEAR = datetime(2026, 1, 1, 0, 0, 0, 5)


def only_view(sql: str) -> View:
    (state,) = states_of(planned(project(SOURCES, {"m": sql}), "shop")).values()
    (view,) = state.views
    return view


def _views(plan: Plan) -> list[View]:
    return [view for state in states_of(plan).values() for view in state.views]


def test_the_condition_stands_where_the_landing_table_is_read() -> None:
    view = only_view(
        f"with e as (select k, n {EVENTS} where n > 1 or n < 0) select k, count(*) as rows from e group by k"
    )
    both = narrowed(view, NEW_YEAR, datetime(2026, 1, 2))
    landing = both.index("app__events")
    assert landing < both.index(">= fromUnixTimestamp64Micro(1767225600000005, 'UTC')") < both.index("GROUP BY")
    assert "< fromUnixTimestamp64Micro(1767312000000000, 'UTC')" in both
    assert narrowed(view) == view.select
    assert selected(view) == ("k", "rows", "_updated_at")


def test_every_aggregate_prints_as_it_was_written() -> None:
    views = _views(planned(project({"app.events": Declared(COLUMNS)}, MODELS), "shop"))
    assert [v.name for v in views if narrowed(v) != v.select] == []


def test_every_expression_prints_as_it_was_written() -> None:
    lines = [line for line in INSERTABLE.read_text().splitlines() if line and not line.startswith("--")]
    models = {f"m{i:03}": f"select {e} as v, count(*) as n {EVENTS} group by all" for i, e in enumerate(lines)}
    views = _views(planned(project(SOURCES, models), "shop"))
    assert len(views) == len(lines)
    assert [v.name for v in views if narrowed(v) != v.select] == []


def test_a_select_of_another_version_is_refused() -> None:
    view = only_view(f"select k, count(*) as rows {EVENTS} group by k")
    for other in (view.select.lower(), view.select.replace("shop_raw", "other_raw")):
        with pytest.raises(ConfigError, match="is not written as this version"):
            narrowed(msgspec.structs.replace(view, select=other), NEW_YEAR)
