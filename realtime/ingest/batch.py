"""The batch: the rows that one insert puts into a landing table, and the number by which they are found again.

A batch's number is in the id of its query, and the landing table's hidden column ``_batch_id`` takes it from there (see
`realtime.emit.landing`): what landed of a batch can be asked for, and two batches are never taken for each other. The
id is the deduplication token too, so that ClickHouse runs a batch once at a time, and each view takes it once.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator

import msgspec

from realtime.emit.landing import BATCH_PREFIX

_COUNTED = 24  # bits of a process's own count: few of the bytes of neighbours in time differ, which compresses well
_LEASE = 64 - _COUNTED


class Batch(msgspec.Struct, frozen=True):
    """``began`` is the server's time before its first insert in microseconds, where that was in an earlier request;
    ``resumed`` says that it may have landed before this process sends it. ``cut`` is the last cut-over that was known
    when it was sure that it had not. ``traceparent`` is the span of its insert."""

    number: int
    began: int | None = None
    resumed: bool = False
    cut: int | None = None
    traceparent: str = ""

    @property
    def id(self) -> str:
        """Query id and deduplication token of its insert."""
        return f"{BATCH_PREFIX}{self.number}"

    def part(self, name: object) -> Batch:
        """Another batch that follows from this one: the same whoever asks, and whenever."""
        return msgspec.structs.replace(self, number=number_of(str(self.number), str(name)))


def number_of(*parts: str) -> int:
    """A batch's number that follows from ``parts``.

    >>> number_of("chat.messages", "POST", "key") == number_of("chat.messages", "POST", "key")
    True
    """
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest) or 1


def numbers() -> Iterator[int]:
    """New numbers, for ever: 40 bits drawn by lot, and a count of 24 bits."""
    while True:
        lease = secrets.randbits(_LEASE) << _COUNTED
        yield from range(lease + 1, lease + 2**_COUNTED)
