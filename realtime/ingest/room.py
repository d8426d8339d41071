"""How many bytes of rows the server holds at once: beyond that it says so instead of growing."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from realtime.errors import OverloadedError


class Room:
    """``size`` bytes, shared by all requests."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0

    def share(self) -> Share:
        """A share that grows with `Share.add` and is given back at the end of a ``with``."""
        return Share(self)


class Share:
    """What one request holds."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.used = 0
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, size: int) -> None:
        """Takes ``size`` bytes more; OverloadedError where they aren't free. A request that is alone always gets them:
        what one may hold is bounded by the limit of its body, and it would be refused for ever otherwise."""
        if self._room.used > self.used and self._room.used + size > self._room.size:
            raise OverloadedError(
                f"{self._room.used / 2**20:.0f} MiB of rows wait to be inserted, and that is all the server holds",
                retry_after=1.0,
                remedy="send the request again after Retry-After seconds; raise DUET_INGEST_QUEUE_MB if this lasts",
            )
        if self._open:  # the caller may have left while its rows are stored
            self._room.used += size
            self.used += size

    def close(self) -> None:
        """Gives it back."""
        self._room.used -= self.used
        self._open, self.used = False, 0
