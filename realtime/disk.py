"""Disks without room: which one it is, how much is free and how much is needed."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from realtime.errors import CommandError, FullError

STARTS = 32 * 2**20
"""Bytes that the local servers need for their first files and logs."""
NO_ROOM = "free space on the disk of ClickHouse (duet status says how much)"
"""What a caller of the server is told, who shall not know its paths."""
_REMEDY = "free space on it, then do the same again"
_KEPT = 512 * 2**20
_NOTHING = 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SAID = re.compile(r"No space left on device|Disk quota exceeded|os error 28\b")


def kept_free(data: Path) -> int:
    """Bytes of the disk of ``data`` that inserts and merges leave free: then hardly any write fails."""
    disk = os.statvfs(data)
    return min(_KEPT, disk.f_blocks * disk.f_frsize // 10)


def shortage(data: str) -> str:
    """How much room the local ClickHouse lacks on the disk of ``data``, its folder, to take rows; empty where it has
    enough, or where ``data`` is empty: of another server's disk nothing is known."""
    if not data:
        return ""
    free, kept = _free(Path(data)), kept_free(_there(Path(data)))
    return f"the disk of {data} has {mib(free)} free, and it takes rows from {mib(kept)} on" if free < kept else ""


def check_start(folder: Path) -> None:
    """FullError where the disk of ``folder`` has no room for what servers write when they start."""
    free = _free(folder)
    if free < STARTS:
        raise FullError(
            f"the disk of {folder} has {mib(free)} free; ClickHouse needs {mib(STARTS)} there to start, and "
            f"{mib(kept_free(_there(folder)))} to take rows",
            remedy="free space on it, then start again: duet up",
        )


@contextlib.contextmanager
def told(folders: Sequence[Path]) -> Iterator[None]:
    """Where what the block writes finds a disk full, FullError names that disk: of the file, else of those of
    ``folders`` that are full."""
    try:
        yield
    except FullError:
        raise
    except OSError as error:
        if error.errno not in _FULL:
            raise
        where = [Path(error.filename)] if isinstance(error.filename, str) else folders
        raise FullError(_which(where), remedy=_REMEDY) from error
    except CommandError as error:
        if not _SAID.search(error.message) and min(map(_free, folders)) > _NOTHING:
            raise
        raise FullError(f"{_which(folders)}: {error.message}", remedy=_REMEDY) from error


def mib(size: int) -> str:
    """``size`` bytes for people.

    >>> mib(536_870_912), mib(5_000)
    ('512.0 MiB', '0.0 MiB')
    """
    return f"{size / 2**20:,.1f} MiB"


def _which(folders: Sequence[Path]) -> str:
    """The fullest disk is meant."""
    folder = min(folders, key=_free)
    return f"the disk of {folder} is full: {mib(_free(folder))} free"


def _free(folder: Path) -> int:
    return shutil.disk_usage(_there(folder)).free


def _there(folder: Path) -> Path:
    """What exists of the path."""
    return next(each for each in (folder, *folder.parents) if each.exists())
