"""Carries the hidden column ``_ingested_at`` from the landing table up through a stream."""

from __future__ import annotations

from sqlglot import exp

from realtime.planner.streams import chain
from realtime.transpile.form import column, quote

INGESTED_AT = "_ingested_at"


def thread_ingested(query: exp.Select) -> exp.Column:
    """Adds the column to every select between ``query`` and its landing table, in place.

    Returns it as ``query`` itself can name it.
    """
    for select in chain(query.args["from_"].this):
        if not any(isinstance(p, exp.Star) for p in select.expressions):
            select.append("expressions", exp.alias_(_of(select), quote(INGESTED_AT)))
    return _of(query)


def _of(select: exp.Select) -> exp.Column:
    return column(INGESTED_AT, select.args["from_"].this.alias_or_name)
