"""What the caller of a deploy allows."""

from __future__ import annotations

import dataclasses

from realtime.settings import Settings


@dataclasses.dataclass(frozen=True)
class Options:
    """``destructive`` allows what loses rows or values. ``backfill`` False lets new states begin now, True also fills
    those that an earlier deploy let begin so. ``keep_days`` is how long the version before is kept for a rollback."""

    destructive: bool = False
    backfill: bool | None = None
    keep_days: int = 7

    @classmethod
    def load(cls, settings: Settings, *, destructive: bool = False, backfill: bool | None = None) -> Options:
        """What the caller says, and what the settings do."""
        return cls(destructive, backfill, settings.number("DUET_KEEP_DAYS"))


DEFAULT = Options()
