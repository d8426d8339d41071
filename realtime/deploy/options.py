"""What the caller of a deploy allows."""

from __future__ import annotations

import dataclasses

from realtime.deploy.lake import has_lake
from realtime.settings import Settings


@dataclasses.dataclass(frozen=True)
class Options:
    """``destructive`` allows what loses rows or values. ``backfill`` False lets new states begin now, True also fills
    those that an earlier deploy let begin so. ``keep_days`` is how long the version before is kept for a rollback,
    ``lake`` the sources whose rows can be read from the lake, ``threads`` how many chunks are backfilled at a time."""

    destructive: bool = False
    backfill: bool | None = None
    keep_days: int = 7
    lake: frozenset[str] = frozenset()
    threads: int = 2

    @classmethod
    def load(cls, settings: Settings, *, destructive: bool = False, backfill: bool | None = None) -> Options:
        """What the caller says, and what the settings do."""
        return cls(
            destructive=destructive,
            backfill=backfill,
            keep_days=settings.number("DUET_KEEP_DAYS"),
            lake=has_lake(settings),
            threads=max(1, settings.number("DUET_BACKFILL_THREADS")),
        )


DEFAULT = Options()
