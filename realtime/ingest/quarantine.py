"""Rows in quarantine: seen, mended and sent again, each once.

A replay first claims its rows, with the text that is sent, then sends them with a key that follows from both, then
marks them. One that is killed is finished by the next: the claim says which rows were sent together, so the key is the
same.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.errors import BadRequestError, NotFoundError
from realtime.ingest import csv
from realtime.ingest.files import Loaded, send
from realtime.ingest.readers import ROWS_A_REQUEST, Batch, Rows
from realtime.planner.ir import SourceSpec

_KEPT = ("received_at", "id", "request_id", "row", "header", "columns", "reasons", "topic", "partition", "offset")
_ROWS = (
    "SELECT toString(id) AS id, received_at, request_id, row, header, columns, reasons, topic, partition, offset, "
    "replay, replayed_row FROM {quarantine} FINAL WHERE NOT replayed AND {where} ORDER BY received_at, id"
)
_CLAIM = (
    "INSERT INTO {quarantine} ({kept}, replay, replayed_row, replayed, revision) "
    "SELECT {kept}, {{key:String}}, text, false, 1 FROM {quarantine} FINAL "
    "INNER JOIN format(JSONEachRow, 'claimed UUID, text String', ${tag}${rows}${tag}$) AS claims ON id = claimed "
    "WHERE replay = ''"
)
_MARK = (
    "INSERT INTO {quarantine} ({kept}, replay, replayed_row, replayed, revision) "
    "SELECT {kept}, replay, replayed_row, true, 2 FROM {quarantine} FINAL WHERE replay = {{key:String}}"
)
_BATCH_BYTES = 4 * 2**20
_encoder = msgspec.json.Encoder()


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row that waits in quarantine. ``replay`` is the key of a replay that has begun and did not end."""

    source: str
    id: str
    received_at: datetime
    request_id: str
    row: str
    header: str
    columns: tuple[str, ...]
    reasons: tuple[str, ...]
    topic: str
    partition: int
    offset: int
    replay: str
    replayed_row: str

    @property
    def why(self) -> str:
        """Columns and reasons in one line."""
        named = (f"{column} {reason}" for column, reason in zip(self.columns, self.reasons, strict=False))
        return "; ".join(named) if self.columns else "; ".join(self.reasons)

    def text(self) -> str:
        """What is sent again, in one line where it is JSON."""
        if self.header or "\n" not in self.row:
            return self.row
        try:
            return msgspec.json.format(self.row, indent=-1)
        except msgspec.DecodeError:
            return self.row.replace("\n", " ")


def waiting(
    client: ClickHouse, sources: Sequence[SourceSpec], since: datetime | None = None, reason: str = ""
) -> list[Row]:
    """Rows of ``sources`` that wait in quarantine: since a moment, and with a reason that holds ``reason``."""
    conditions, parameters = ["true"], {"reason": reason}
    if since is not None:
        conditions.append("received_at >= parseDateTime64BestEffort({since:String}, 6, 'UTC')")
        parameters["since"] = since.isoformat()
    if reason:
        conditions.append("positionCaseInsensitiveUTF8(concat(arrayStringConcat(columns, ' '), ' ', "
                          "arrayStringConcat(reasons, ' ')), {reason:String}) > 0")  # fmt: skip
    found: list[Row] = []
    for source in sources:
        sql = _ROWS.format(quarantine=source.whole_quarantine, where=" AND ".join(conditions))
        found += [msgspec.convert({**row, "source": source.name}, Row) for row in client.rows(sql, parameters)]
    return found


def editable(found: Sequence[Row], source: SourceSpec) -> Iterator[bytes]:
    """Rows as lines of a file that is mended by hand and replayed: id, reasons, and the row as an object where it is
    one."""
    for row in found:
        yield _encoder.encode({"id": row.id, "reasons": row.why, "row": _object(row, source)}) + b"\n"


def mended(file: Path) -> dict[str, str]:
    """Texts by id of a file that `editable` wrote; BadRequestError naming the line that is none."""
    found: dict[str, str] = {}
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if line.strip():
            try:
                each = msgspec.json.decode(line, type=_Mended)
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                raise BadRequestError(
                    f"{file}: line {number}: {error}",
                    remedy='each line holds "id" and "row", as duet quarantine list SOURCE --ndjson writes them',
                ) from None
            found[each.id] = each.row if isinstance(each.row, str) else _encoder.encode(each.row).decode()
    return found


class _Mended(msgspec.Struct):
    id: str
    row: str | dict[str, msgspec.Raw]


def replay(
    client: ClickHouse,
    url: str,
    source: SourceSpec,
    progress: Callable[[int, int], None],
    ids: Sequence[str] = (),
    texts: Mapping[str, str] | None = None,
    token: str = "",
) -> Loaded:
    """Sends rows of ``source`` again: those of ``ids``, or with new ``texts`` by id, or all. What does not fit still is
    in quarantine anew. A replay that did not end is finished first; what was replayed before is left out.

    NotFoundError naming ids that are not in quarantine; UnavailableError where the server does not answer.
    """
    found = waiting(client, [source])
    begun = {row.replay for row in found if row.replay}
    wanted = set(texts or ids)
    unknown = sorted(wanted - {row.id for row in found})
    if unknown:
        done = client.rows(f"SELECT toString(id) AS id FROM {source.whole_quarantine} WHERE replayed")
        unknown = sorted(set(unknown) - {row["id"] for row in done})
    chosen = [row for row in found if not row.replay and (row.id in wanted or not wanted)]
    if unknown:
        raise NotFoundError(
            f"{len(unknown)} rows are not in the quarantine of {source.name}: {', '.join(unknown[:3])}",
            remedy=f"see duet quarantine list {source.name}",
        )
    keys = [*sorted(begun), *(_claim(client, source, each, texts or {}) for each in _together(chosen))]
    loads: list[Loaded] = []
    for key in keys:
        rows = [row for row in waiting(client, [source]) if row.replay == key]
        loads.append(send(url, source, [(Path("/quarantine", key), each) for each in _rows(rows)], progress, token))
        client.execute(_MARK.format(quarantine=source.whole_quarantine, kept=", ".join(_KEPT)), {"key": key})
    good, bad = sum(each.successful_rows for each in loads), sum(each.quarantined_rows for each in loads)
    return Loaded(good, bad, sum(each.seconds for each in loads))


def _together(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows that are claimed at a time."""
    together: list[Row] = []
    size = 0
    for row in rows:
        if together and (len(together) == ROWS_A_REQUEST or size + len(row.row) > _BATCH_BYTES):
            yield together
            together, size = [], 0
        together.append(row)
        size += len(row.row)
    if together:
        yield together


def _claim(client: ClickHouse, source: SourceSpec, rows: Sequence[Row], texts: Mapping[str, str]) -> str:
    claims = [{"claimed": row.id, "text": texts.get(row.id, row.text())} for row in rows]
    lines = _encoder.encode_lines(claims).decode()
    key = hashlib.sha256(f"{source.name}\0{lines}".encode()).hexdigest()[:32]
    statement = _CLAIM.format(
        quarantine=source.whole_quarantine, kept=", ".join(_KEPT), tag=f"t{secrets.token_hex(8)}", rows=lines
    )
    client.execute(statement, {"key": key}, {"max_query_size": 2**28})
    return key


def _rows(rows: Sequence[Row]) -> Iterator[Rows]:
    """The claimed rows as requests: rows of CSV that were not mended below their header, all others as JSON."""
    bodies: dict[str, list[str]] = {}
    for row in rows:
        header = row.header if row.replayed_row == row.row else ""
        bodies.setdefault(header, []).append(row.replayed_row)
    for header, texts in bodies.items():
        body = "".join(f"{text}\n" for text in ([header, *texts] if header else texts)).encode()
        kind = f'text/csv; delimiter="{_separator(header)}"' if header else "application/x-ndjson"
        yield Rows(len(texts), functools.partial(iter, [Batch(1, len(texts), body)]), kind)


def _separator(header: str) -> str:
    """The separator of a CSV header: the one that it holds most."""
    found = max(csv.SEPARATORS, key=header.count)
    return {"\t": "\\t"}.get(found, found)


def _object(row: Row, source: SourceSpec) -> Any:
    text = row.row.encode()
    if row.header:
        table = csv.Table(row.header.encode(), max(csv.SEPARATORS, key=row.header.count), source)
        text = next(iter(table.piece(text).rows())).json
    try:
        found = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        return {name: msgspec.Raw(bytes(value)) for name, value in found.items()}
    except (msgspec.DecodeError, msgspec.ValidationError):
        return row.row
