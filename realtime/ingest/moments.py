"""Dates and times from text, exactly: what needs rounding, or ClickHouse does not hold, is an `UnfitError`."""

from __future__ import annotations

import datetime as dt
import re

from realtime.ingest.reasons import UnfitError

_DATE = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?")
_OFFSET = re.compile(r"(Z|z|[+-][0-9]{2}(?::?[0-9]{2})?)$")
_FIRST, _LAST = dt.datetime(1900, 1, 1), dt.datetime(2299, 12, 31, 23, 59, 59, 999999)
_LAST_NANO = dt.datetime(2262, 4, 11, 23, 47, 16)


def read_date(text: str) -> str:
    """``text`` as an ISO date; a time of 00:00 after it is allowed.

    >>> read_date("2018-4-1")
    '2018-04-01'
    """
    day, _, clock = text.strip().replace("T", " ").partition(" ")
    if clock and clock.strip("0:.Z"):
        raise UnfitError(f"{text!r} has a time of day, which a DATE can't hold")
    return _day(day, text).date().isoformat()


def read_time(text: str) -> str:
    """``text`` as a time of day of at most six places."""
    seconds, fraction = _clock(text.strip(), text, 6)
    return (_FIRST + seconds).time().isoformat() + _point(fraction)


def read_moment(text: str, *, places: int, zoned: bool) -> str:
    """``text`` as an ISO timestamp in UTC with at most ``places`` places.

    A date alone is its midnight. Without an offset it is UTC. With ``zoned`` an offset is applied; otherwise only
    that of UTC is allowed, since DuckDB would drop any other without a word.

    >>> read_moment("2018-04-01T10:00:00.5+02:00", places=6, zoned=True)
    '2018-04-01T08:00:00.5'
    """
    rest = text.strip()
    offset = _OFFSET.search(rest) if ":" in rest else None
    rest = rest[: offset.start()].rstrip() if offset else rest
    day, _, clock = rest.replace("T", " ", 1).partition(" ")
    seconds, fraction = _clock(clock, text, places) if clock else (dt.timedelta(), "")
    shift = _shift(offset.group(), text) if offset else dt.timedelta()
    if shift and not zoned:
        raise UnfitError(f"{text!r} has an offset, which a TIMESTAMP can't hold: send UTC, or declare TIMESTAMPTZ")
    try:
        moment = _day(day, text) + seconds - shift
    except OverflowError:
        raise UnfitError(f"{text!r} is outside 1900-01-01 to 2299-12-31") from None
    if not _FIRST <= moment <= (_LAST_NANO if places > 6 else _LAST):
        raise UnfitError(f"{text!r} is outside 1900-01-01 to {'2262-04-11' if places > 6 else '2299-12-31'}")
    return moment.isoformat() + _point(fraction)


def _day(day: str, text: str) -> dt.datetime:
    found = _DATE.fullmatch(day)
    try:
        moment = dt.datetime(*map(int, found.groups())) if found else None  # type: ignore[arg-type]
    except ValueError:
        moment = None
    if moment is None:
        raise UnfitError(f"{text!r} is no date of the form YYYY-MM-DD")
    if not _FIRST <= moment <= _LAST:
        raise UnfitError(f"{text!r} is outside 1900-01-01 to 2299-12-31")
    return moment


def _clock(clock: str, text: str, places: int) -> tuple[dt.timedelta, str]:
    """The whole seconds of a time of day, and its decimals without the zeros at their end."""
    found = _CLOCK.fullmatch(clock)
    hour, minute, second = (int(g or 0) for g in found.groups()[:3]) if found else (24, 0, 0)
    if found is None or hour > 23 or minute > 59 or second > 59:
        raise UnfitError(f"{text!r} is no time of the form HH:MM:SS")
    fraction = (found.group(4) or "").rstrip("0")
    if len(fraction) > places:
        raise UnfitError(f"{text!r} has more than {places} places of a second")
    return dt.timedelta(hours=hour, minutes=minute, seconds=second), fraction


def _shift(offset: str, text: str) -> dt.timedelta:
    if offset in "Zz":
        return dt.timedelta()
    digits = offset[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:
        raise UnfitError(f"{text!r} has no valid offset")
    shift = dt.timedelta(hours=hours, minutes=minutes)
    return -shift if offset[0] == "-" else shift


def _point(fraction: str) -> str:
    return f".{fraction}" if fraction else ""
