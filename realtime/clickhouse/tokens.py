"""Tokens of parts that a killed ClickHouse did not keep are forgotten before it starts again.

A MergeTree table without replicas writes an insert's deduplication token to a log before it gives the part its name
(MergeTreeSink::commitPart, tried on 26.7). Killed between the two, it knows the token and has no part: the insert, sent
again, would be dropped and answered as stored. Both happen under one lock, so that it can be the last part of a table's
log only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_ADDED = "1"  # begins a record, of fields with tabs between: the part's name and the token follow


class _Part(NamedTuple):
    """As its name tells: ``201403_7_9_1`` holds blocks 7 to 9 of a partition."""

    partition: str
    first: int
    last: int

    @classmethod
    def of(cls, name: str) -> _Part | None:
        fields = name.split("_")
        if not 4 <= len(fields) <= 5 or not all(field.isdigit() for field in fields[1:]):
            return None
        return cls(fields[0], int(fields[1]), int(fields[2]))

    def covers(self, other: _Part) -> bool:
        return self.partition == other.partition and self.first <= other.first and other.last <= self.last


def forget_lost(data: Path) -> list[str]:
    """Takes the tokens of the part that each table of the folder ``data`` lost out of its log; returns the parts."""
    lost = []
    for logs in data.glob("store/*/*/deduplication_logs"):
        for log in _newest_first(logs):
            written = log.read_bytes()
            records = written.splitlines(keepends=True)
            if records and not records[-1].endswith(b"\n"):
                records.pop()  # a full disk took only a part of it
            found = bool(records)
            if found and (name := _lost(records, logs.parent)):
                lost.append(str(logs.parent / name))
                while records and _added(records[-1]) == name:
                    records.pop()
            if (kept := sum(map(len, records))) < len(written):
                os.truncate(log, kept)
            if found:
                break
    return lost


def _newest_first(logs: Path) -> Iterator[Path]:
    """The files of a log, which are numbered; the newest may be empty yet."""
    numbered = {int(file.stem.rpartition("_")[2]): file for file in logs.glob("deduplication_log_*.txt")}
    return (numbered[number] for number in sorted(numbered, reverse=True))


def _lost(records: list[bytes], table: Path) -> str:
    """The part that the last record adds, where the ``table`` has neither it nor one that it was merged into."""
    name = _added(records[-1])
    part = _Part.of(name)
    if part is None or any(kept.covers(part) for each in os.listdir(table) if (kept := _Part.of(each))):
        return ""
    return name


def _added(record: bytes) -> str:
    fields = record.decode(errors="replace").rstrip("\n").split("\t")
    return fields[1] if len(fields) == 3 and fields[0] == _ADDED else ""
