"""Single DuckDB statements against DuckDB DDL, as the command `duet transpile` compiles them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from realtime.emit.readable import readable
from realtime.errors import ConfigError, RefusedError
from realtime.project.binder import Binder
from realtime.transpile.passes.to_databases import to_databases
from realtime.transpile.settings import with_settings
from realtime.transpile.transpile import transpile

# Where a semicolon ends no statement: texts, quoted names, dollar quotes and comments.
_OPAQUE = re.compile(
    r"""
    (?P<comment> --[^\n]* | /\*.*?\*/ )
    | [eE]'(?:[^'\\]|\\.|'')*'
    | '(?:[^']|'')*'
    | "(?:[^"]|"")*"
    | \$(?P<tag>[a-zA-Z_]\w*|)\$.*?\$(?P=tag)\$
    | (?P<end> ; )
    """,
    re.VERBOSE | re.DOTALL,
)


class Statement(msgspec.Struct, frozen=True):
    """What became of one statement: ``status`` is ``ok`` with the ClickHouse text, or ``refused`` with the reason.

    ``line`` counts from 1 in the text of all statements: where the refused construct stands, else where the
    statement starts.
    """

    sql: str
    status: str
    clickhouse: str = ""
    reason: str = ""
    line: int = 0


def transpile_statements(schema_ddl: str, sql: str) -> list[Statement]:
    """Compiles each statement of ``sql`` by itself against the tables that ``schema_ddl`` creates in DuckDB.

    Tables keep their names: those of schema ``main`` stand alone, another schema is the database of that name.
    ConfigError where DuckDB does not take the DDL; what a statement lacks is in its record.
    """
    binder = Binder()
    try:
        binder.execute(schema_ddl)
    except RefusedError as error:
        raise ConfigError(f"the schema can't be read: {error.message}", remedy="make it run in DuckDB first") from None
    return [_compiled(text, line, binder) for text, line in split(sql)]


def split(sql: str) -> Iterator[tuple[str, int]]:
    """The statements of ``sql``, without comments around them, each with the line on which it starts.

    >>> list(split("-- first\\nSELECT ';';\\n\\nSELECT 2"))
    [("SELECT ';'", 2), ('SELECT 2', 4)]
    """
    start = 0
    for match in _OPAQUE.finditer(sql):
        if match["end"]:
            yield from _trimmed(sql, start, match.start())
            start = match.end()
    yield from _trimmed(sql, start, len(sql))


def _trimmed(sql: str, start: int, end: int) -> Iterator[tuple[str, int]]:
    blank = re.compile(r"(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*", re.DOTALL)
    found = blank.match(sql, start, end)
    first = found.end() if found is not None else start
    if first < end:
        yield sql[first:end].rstrip(), sql.count("\n", 0, first) + 1


def _compiled(sql: str, line: int, binder: Binder) -> Statement:
    try:
        tree = to_databases(transpile(sql, binder).tree)
        return Statement(sql, "ok", clickhouse=readable(with_settings(tree)), line=line)
    except RefusedError as error:
        what = f"{error.construct}: " if error.construct else ""
        remedy = f" → {error.remedy}" if error.remedy else ""
        at = line + error.line - 1 if error.line else line
        return Statement(sql, "refused", reason=f"{what}{error.message}{remedy}", line=at)
    except Exception as error:  # what we did not foresee in one statement must not take the others with it
        reason = f"this statement can't be compiled ({type(error).__name__}: {str(error).splitlines()[0]})"
        return Statement(sql, "refused", reason=reason, line=line)
