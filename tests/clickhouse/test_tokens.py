"""Logs of tokens as a kill leaves them; tests/faults has ClickHouse read what is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from realtime.clickhouse.tokens import forget_lost

FIRST, SECOND = b"1\tall_1_1_0\tall_11_12\n", b"1\tall_2_2_0\tall_21_22\n"
DROPPED = b"2\tall_2_2_0\tall_21_22\n"


@pytest.mark.parametrize(
    ("parts", "older", "newest", "kept"),
    [
        (["all_1_1_0", "all_2_2_0"], b"", FIRST + SECOND, FIRST + SECOND),
        (["all_1_1_0", "tmp_insert_all_2_2_0"], b"", FIRST + SECOND, FIRST),
        (["all_1_2_1"], b"", FIRST + SECOND, FIRST + SECOND),
        (["all_1_2_1_7"], b"", FIRST + SECOND, FIRST + SECOND),
        (["all_1_1_0", "p_1_2_1"], b"", FIRST + SECOND, FIRST),
        (["all_1_1_0"], b"", FIRST + SECOND + SECOND.replace(b"21", b"31"), FIRST),
        (["all_1_1_0"], b"", FIRST + SECOND + DROPPED, FIRST + SECOND + DROPPED),
        (["all_1_1_0"], b"", FIRST + SECOND[:-4], FIRST),
        (["all_1_1_0"], FIRST + SECOND, b"", FIRST),
        (["all_1_1_0"], FIRST + SECOND, FIRST[:-4], FIRST),
    ],
)
def test_the_part_that_was_lost_is_forgotten(
    tmp_path: Path, parts: list[str], older: bytes, newest: bytes, kept: bytes
) -> None:
    table = tmp_path / "store" / "abc" / "abcdef"
    logs = table / "deduplication_logs"
    logs.mkdir(parents=True)
    for part in parts:
        (table / part).mkdir()
    if older:
        (logs / "deduplication_log_9.txt").write_bytes(older)
    (logs / "deduplication_log_10.txt").write_bytes(newest)
    lost = forget_lost(tmp_path)
    left = b"".join((logs / f"deduplication_log_{n}.txt").read_bytes() for n in ((9, 10) if older else (10,)))
    assert left == kept
    assert lost == ([str(table / "all_2_2_0")] if kept == FIRST and SECOND in older + newest else [])
    assert forget_lost(tmp_path) == []
