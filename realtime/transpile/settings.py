"""Settings under which ClickHouse computes what DuckDB does; every compiled query carries those it needs."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

SETTINGS: dict[str, int | str] = {
    # Outer joins and grouping sets give NULL for what is absent, not a default value.
    "join_use_nulls": 1,
    "group_by_use_nulls": 1,
    # A qualified column is the column, also where an alias of the select list has its name.
    "prefer_column_name_to_alias": 0,
    "session_timezone": "UTC",
    "date_time_overflow_behavior": "throw",
    "enable_extended_results_for_datetime_functions": 1,
    "precise_float_parsing": 1,
    # Works around wrong answers of window functions over Nullable columns.
    "optimize_functions_to_subcolumns": 0,
    "formatdatetime_parsedatetime_m_is_month_name": 0,
    # Compiled, min and max of a DateTime64 by group take what is before 1970 for the greatest (26.7); a query is
    # compiled when it runs the fourth time.
    "compile_aggregate_expressions": 0,
}


# ClickHouse gives a recursive CTE 1,000 rounds, a spine of days may take more; DuckDB counts none.
_MOST_ROUNDS = 1_000_000


def with_settings(query: exp.Query, more: Mapping[str, int] | None = None) -> exp.Query:
    """``query`` with `SETTINGS` and ``more`` at its end, in place: views keep them whatever a caller's session says."""
    found = {**SETTINGS, **(more or {})}
    if any(clause.args.get("recursive") for clause in query.find_all(exp.With)):
        found["max_recursive_cte_evaluation_depth"] = _MOST_ROUNDS
    only_settings(query, found)
    return query


def only_settings(query: exp.Query, settings: Mapping[str, int | str]) -> None:
    """Sets the ``settings`` of ``query`` and no others, in place."""
    query.set("settings", [_setting(name, value) for name, value in settings.items()])


def _setting(name: str, value: int | str) -> exp.Expr:
    literal = exp.Literal.string(value) if isinstance(value, str) else exp.Literal.number(value)
    return exp.EQ(this=exp.column(name), expression=literal)
