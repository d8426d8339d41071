"""A write that fails ends the local ClickHouse at once, which then starts again when its disk has room.

The library is built without the exception that ClickHouse throws when ``write`` fails: of what a full disk did not take
it knows nothing. An insert is answered, and a merge takes the place of its sources, though their files are empty (tried
on 26.7; other builds of ClickHouse throw). As a process that is killed it loses nothing that was answered.

So the library's calls of ``write`` go to a few instructions that replace the process (``execve``) where the disk is
full, over its quota or broken. They are no Python: they run in the library's threads and in its signal handlers.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import signal
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from realtime.disk import kept_free

VERIFIED = (platform.system(), platform.machine()) == ("Linux", "x86_64")
"""Whether the library of this machine is the one that is meant."""
_PAGE = mmap.PAGESIZE
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""What a write fails with where the disk is full, over its quota or broken."""
_C = ctypes.CDLL(None, use_errno=True)

# Beside the code a page of words: the real `write`, then what `execve` is called with.
_WORDS = struct.Struct("<QQQQ")
_SYSTEM_CALL = b"\x0f\x05"
_WRITE, _EXECVE, _EXIT_GROUP = (b"\xb8" + struct.pack("<I", number) for number in (1, 59, 231))  # mov eax, number


def wait_for_room(data: Path, ends: set[signal.Signals]) -> None:
    """Returns when the disk of ``data`` has as much room as is kept free; SystemExit where one of the signals ``ends``,
    which are blocked, comes first."""
    said = f"a write failed: ClickHouse starts again when {kept_free(data):,} bytes of its disk are free"
    with contextlib.suppress(OSError):  # the log is on that disk
        print(said, file=sys.stderr, flush=True)
    while True:
        disk = os.statvfs(data)
        if signal.sigtimedwait(ends, 0.2) is not None:
            raise SystemExit(0)
        if disk.f_bavail * disk.f_frsize >= kept_free(data):
            return


class FailedWrites:
    """What the ``library``, which is loaded, does where a write fails: it becomes the process ``command``.

    OSError where the system does not allow it.
    """

    def __init__(self, library: Path, command: Sequence[str]) -> None:
        self._pages = mmap.mmap(-1, 2 * _PAGE)
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        real = ctypes.cast(_C.write, ctypes.c_void_p).value
        assert real is not None
        self._real = real
        self.instead(command)
        code = _code()
        self._pages[: len(code)] = code
        _protect(self._start, _PAGE, mmap.PROT_READ | mmap.PROT_EXEC)
        if not (slots := list(_slots(library, real))):
            raise OSError(errno.ENOENT, "the library's calls of write", str(library))
        for slot in slots:
            page = slot - slot % _PAGE
            _protect(page, _PAGE, mmap.PROT_READ | mmap.PROT_WRITE)
            ctypes.c_uint64.from_address(slot).value = self._start

    def instead(self, command: Sequence[str]) -> None:
        """Becomes ``command`` from now on, with the environment of now."""
        path = ctypes.c_char_p(command[0].encode())
        arguments = (ctypes.c_char_p * (len(command) + 1))(*[word.encode() for word in command], None)
        given = [f"{name}={value}".encode() for name, value in os.environ.items()]
        environment = (ctypes.c_char_p * (len(given) + 1))(*given, None)
        first = ctypes.cast(path, ctypes.c_void_p).value
        words = _WORDS.pack(self._real, first, ctypes.addressof(arguments), ctypes.addressof(environment))
        self._pages[_PAGE : _PAGE + len(words)] = words
        self._held = path, arguments, environment  # so that they stay where they are


def _code() -> bytes:
    """``write`` of x86-64: the system call, and for errors that say nothing of the disk the real one, which sets
    ``errno``; else ``execve``."""
    code = _Code()
    code.add(_WRITE + _SYSTEM_CALL)
    code.add(b"\x48\x85\xc0\x78\x01\xc3")  # test rax, rax; js over the next; ret
    dies = len(code.bytes) + 5 * len(DISK) + 9
    for number in DISK:
        code.add(b"\x83\xf8" + struct.pack("<b", -number))  # cmp eax, -number
        code.add(b"\x74" + struct.pack("<b", dies - len(code.bytes) - 2))  # je dies
    code.load(b"\x48\x8b\x05", 0)  # mov rax, [real]
    code.add(b"\xff\xe0")  # jmp rax
    for place, register in enumerate((b"\x48\x8b\x3d", b"\x48\x8b\x35", b"\x48\x8b\x15")):  # mov rdi, rsi, rdx
        code.load(register, place + 1)
    code.add(_EXECVE + _SYSTEM_CALL)
    code.add(b"\xbf\x4b\x00\x00\x00" + _EXIT_GROUP + _SYSTEM_CALL)  # mov edi, 75: where that fails
    return code.bytes


class _Code:
    def __init__(self) -> None:
        self.bytes = b""

    def add(self, more: bytes) -> None:
        self.bytes += more

    def load(self, instruction: bytes, word: int) -> None:
        """``instruction`` on a word of the next page, by its distance."""
        after = len(self.bytes) + len(instruction) + 4
        self.add(instruction + struct.pack("<i", _PAGE + 8 * word - after))


def _slots(library: Path, function: int) -> Iterator[int]:
    """Where the loaded ``library`` holds the address of ``function``; it is read behind its code."""
    behind, wanted = False, struct.pack("<Q", function)
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, *_, path = line.split(maxsplit=5)
        if path != str(library):
            continue
        behind = behind or "x" in rights
        if not behind or "x" in rights:
            continue
        start, end = (int(each, 16) for each in span.split("-"))
        held = ctypes.string_at(start, end - start)
        at = held.find(wanted)
        while at >= 0:
            if at % 8 == 0:
                yield start + at
            at = held.find(wanted, at + 1)


def _protect(start: int, size: int, rights: int) -> None:
    if _C.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(size), rights):
        raise OSError(ctypes.get_errno(), "mprotect")
