"""Chance with a seed, and the values that real data has and made-up data has not."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")
Row = dict[str, Any]
Rows = dict[str, list[Row]]

START = datetime(2024, 1, 29, 22, 15)
FAR = (datetime(1969, 12, 31, 23, 59, 59, 500000), datetime(1900, 1, 1), datetime(2150, 2, 28, 12, 0, 0, 1))
WORDS = (
    *("", " ", "Ärger im Büro", "日本語", "😀 smile", 'O\'Brien "q"', "a\\b%c_d", "ЖЁЛТЫЙ", "naïve café"),
    *("İstanbul", "tab\there", "NULL", "line\nbreak"),
)


class Dice:
    """Every method draws from one sequence, so that equal seeds give equal rows."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def happens(self, probability: float) -> bool:
        return self._random.random() < probability

    def one(self, values: Sequence[T]) -> T:
        return self._random.choice(values)

    def whole(self, least: int, most: int) -> int:
        return self._random.randint(least, most)

    def maybe(self, value: T, missing: float = 0.08) -> T | None:
        """``value``, or NULL."""
        return None if self.happens(missing) else value

    def decimal(self, most: int, places: int = 2) -> str:
        """Between 0 and ``most``, as text; at times exactly 0 or ``most``."""
        scaled = self.one([0, most * 10**places]) if self.happens(0.02) else self.whole(1, most * 10**places)
        return f"{scaled // 10**places}.{scaled % 10**places:0{places}d}"

    def moment(self, days: int, *, far: float = 0.01) -> datetime:
        """Within ``days`` of the start, often on a whole second or a day's edge, rarely far away."""
        if self.happens(far):
            return self.one(FAR)
        at = START + timedelta(seconds=self.whole(0, days * 86400))
        if self.happens(0.1):
            return at.replace(hour=0, minute=0, second=0)
        return at + timedelta(microseconds=self.one([0, 0, 1, 999999, self.whole(0, 999999)]))

    def uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128)))

    def sent_again(self, rows: list[Row], part: float = 0.03) -> list[Row]:
        """``rows`` and some of them twice, as senders do that retry."""
        return rows + [dict(row) for row in rows if self.happens(part)]

    def shuffled(self, rows: list[Row]) -> list[Row]:
        """Out of order by far: late rows are the rule."""
        return self._random.sample(rows, len(rows))

    def batches(self, rows: list[Row]) -> list[list[Row]]:
        """``rows`` in pieces of any size, some of a single row."""
        pieces, at = [], 0
        while at < len(rows):
            size = self.one([1, 7, 150, 400, 900])
            pieces.append(rows[at : at + size])
            at += size
        return pieces


def iso(at: datetime | None) -> str | None:
    """As events carry it."""
    return None if at is None else at.isoformat()
