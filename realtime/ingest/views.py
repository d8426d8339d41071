"""Finding the rows on which a materialized view throws, without writing anything.

ClickHouse keeps such an insert in the landing table and in the other views, and the view that threw has none
of its rows (tried on 26.7). The insert's token mends that: sent again with the same token and without the rows
that throw, the landing table and the other views drop it as a double, and the view takes it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import msgspec
from sqlglot import exp, parse_one

from realtime.emit.names import quoted
from realtime.errors import DuetError, UnavailableError
from realtime.ingest.landed import stamp
from realtime.ingest.writer import RowsRefusedError, Writer

_SELECT = "SELECT as_select FROM system.tables WHERE concat(database, '.', name) = {view:String} FORMAT JSONEachRow"
_COLUMNS = (
    "SELECT name, type FROM system.columns WHERE concat(database, '.', table) = {table:String} "
    "ORDER BY position FORMAT JSONEachRow"
)


class _View(msgspec.Struct):
    as_select: str


class _Column(msgspec.Struct):
    name: str
    type: str


async def throwing_rows(writer: Writer, view: str, rows: Sequence[bytes]) -> Mapping[int, str]:
    """The places in ``rows``, JSON lines without their newline, on which ``view`` throws, with what it says.

    UnavailableError where the server is not there or the view can't be tried.
    """
    statement = await _trial(writer, view.replace("`", ""))
    now = dt.datetime.now(dt.UTC)
    found: dict[int, str] = {}
    spans = [(0, len(rows))]
    while spans:
        start, end = spans.pop()
        reason = await _tried(writer, view, statement, [stamp(row, now) for row in rows[start:end]])
        if reason and end - start == 1:
            found[start] = f"is stored, but {view} can't take it: {reason}"
        elif reason:
            middle = (start + end) // 2
            spans += [(start, middle), (middle, end)]
    return found


async def _tried(writer: Writer, view: str, statement: str, rows: Sequence[bytes]) -> str:
    try:
        await writer.insert(statement, b"\n".join(rows), "")
    except RowsRefusedError as error:
        return error.reason
    except UnavailableError as error:
        raise failing(view, error.message) from None
    return ""


def failing(view: str, reason: str) -> UnavailableError:
    """The error for a view that throws though no row is at fault: landing has the rows, what it feeds does not."""
    name = view.replace("`", "").rpartition(".")[2]
    return UnavailableError(
        f"the rows are in the landing table, but materialized view {view} fails: {reason}",
        remedy=f"view {name} does not take the rows that are stored: mend it (duet deploy), then send the request "
        "again; with an Idempotency-Key its rows count once",
    )


async def _trial(writer: Writer, view: str) -> str:
    """An insert that computes what the view selects, of rows that are sent, and keeps nothing."""
    selects = await writer.read(_SELECT, {"view": view}, _View)
    try:
        select = parse_one(selects[0].as_select, dialect="clickhouse")
        sources = list(select.find_all(exp.Table))
        landing = next(t for t in sources if t.db)
        columns = await writer.read(_COLUMNS, {"table": f"{landing.db}.{landing.name}"}, _Column)
        structure = ", ".join(f"{quoted(c.name)} {c.type}" for c in columns)
        for table in sources:
            if table.db == landing.db and table.name == landing.name:
                given = exp.Table(this=exp.Anonymous(this="input", expressions=[exp.Literal.string(structure)]))
                table.replace(exp.alias_(given, table.alias, table=True) if table.alias else given)
        return f"INSERT INTO FUNCTION null() {select.sql('clickhouse')} FORMAT JSONEachRow"
    except DuetError:
        raise
    except Exception as error:
        raise failing(view, f"on which row could not be found out: {error}") from None
