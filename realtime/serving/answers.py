"""Answers made of ClickHouse's rows, by their bytes: what a call gets, whether it was asked alone or with others."""

from __future__ import annotations

import msgspec

from realtime.planner.ir import LambdaSpec
from realtime.planner.keyed import KEY
from realtime.serving.formats import JSON, Format
from realtime.serving.pool import Reply

_MARK = b',"%s":' % KEY.encode()
_SUMMARY = b"x-clickhouse-summary"


class _Summary(msgspec.Struct):
    read_rows: str = "0"
    read_bytes: str = "0"
    result_rows: str = "0"
    elapsed_ns: str = "0"


_read_summary = msgspec.json.Decoder(_Summary).decode


def meta(spec: LambdaSpec) -> bytes:
    """``[{"name","type"}, …]`` of the columns of ``spec``."""
    return msgspec.json.encode([{"name": c.name, "type": c.clickhouse} for c in spec.columns])


def source_format(form: Format) -> str:
    """The format to ask ClickHouse for: JSON is put together here, of lines."""
    return "JSONEachRow" if form is JSON else form.clickhouse


def answer(form: Format, columns: bytes, lines: bytes, reply: Reply, cursor: str | None = None) -> bytes:
    """The body in ``form``; ``columns`` is what `meta` returns, ``lines`` the rows of this call, all of them in
    ``reply`` or a part; ``cursor`` is that of a page, "" where it is the last one."""
    if form is not JSON:
        return lines
    found = _read_summary(reply.headers.get(_SUMMARY, b"{}"))
    following = b"" if cursor is None else b',"next_cursor":%s' % (b'"%s"' % cursor.encode() if cursor else b"null")
    return b'{"meta":%s,"data":[%s],"rows":%d,"statistics":{"elapsed":%.6f,"rows_read":%s,"bytes_read":%s}%s}\n' % (
        columns,
        lines[:-1].replace(b"\n", b",\n"),  # a line break in a text is escaped
        lines.count(b"\n"),
        int(found.elapsed_ns) / 1e9,
        found.read_rows.encode(),
        found.read_bytes.encode(),
        following,
    )


def row_count(reply: Reply) -> int:
    """How many rows ``reply`` has, in any format."""
    return int(_read_summary(reply.headers.get(_SUMMARY, b"{}")).result_rows)


def by_key(lines: bytes) -> dict[str, bytes]:
    """The rows of each key, by the key's text, in their order and without `KEY`, which is their last column.

    >>> by_key(b'{"n":1,"__duet_key":"a"}\\n{"n":2,"__duet_key":"b"}\\n{"n":3,"__duet_key":"a"}\\n')
    {'a': b'{"n":1}\\n{"n":3}\\n', 'b': b'{"n":2}\\n'}
    """
    found: dict[bytes, list[bytes]] = {}
    for line in lines.splitlines():
        # The last one is the column's: within a text the quotes would be escaped.
        end = line.rfind(_MARK)
        found.setdefault(line[end + len(_MARK) : -1], []).append(line[:end])
    return {str(msgspec.json.decode(key)): b"}\n".join(rows) + b"}\n" for key, rows in found.items()}
