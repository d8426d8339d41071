"""How long rows are kept: a ``ttl`` in words, and the partitions that make whole parts expire together.

A partition spans at most a quarter of the time to live, so that at most a quarter more is kept than asked for and
nothing is ever rewritten to be deleted: quarters from a year on, months, weeks and days below, hours below four days.
"""

from __future__ import annotations

import dataclasses
import re

_WORDS = re.compile(r"([1-9][0-9]{0,4}) +(hour|day|week|month|quarter|year)s?", re.IGNORECASE)
_DAYS = {"hour": 1 / 24, "day": 1, "week": 7, "month": 30, "quarter": 91, "year": 365}
_MOST_DAYS = 50 * 365
EXAMPLE = "write `ttl: 90 days`, a number of hours, days, weeks, months, quarters or years up to 50 years"


@dataclasses.dataclass(frozen=True)
class Period:
    """The span of a partition: for a ``ttl`` of ``days`` or more, by the function ``begin``. ``back`` is a ClickHouse
    interval that no shorter period's ``ttl`` reaches: what is older when it comes has expired."""

    days: float
    begin: str
    back: str


PERIODS = (
    Period(365, "toStartOfQuarter", "toIntervalYear(50)"),
    Period(124, "toStartOfMonth", "toIntervalDay(366)"),
    Period(28, "toMonday", "toIntervalDay(124)"),
    Period(4, "toDate", "toIntervalDay(28)"),
    Period(0, "toStartOfHour", "toIntervalDay(4)"),
)


@dataclasses.dataclass(frozen=True)
class Span:
    """A time to live in words, ``90 days``."""

    number: int
    unit: str

    @property
    def days(self) -> float:
        """About how many days it is."""
        return self.number * _DAYS[self.unit]

    @property
    def interval(self) -> str:
        """As a ClickHouse interval."""
        return f"toInterval{self.unit.capitalize()}({self.number})"

    @property
    def period(self) -> Period:
        """The span of the partitions that suit it."""
        return next(p for p in PERIODS if self.days >= p.days)

    def __str__(self) -> str:
        return f"{self.number} {self.unit}{'s' if self.number > 1 else ''}"


@dataclasses.dataclass(frozen=True)
class Expiry:
    """When rows expire, and how they are partitioned, as ClickHouse expressions; ``whole_parts`` says that the
    partitions follow the time by which rows expire, ``lifetime`` after it, so that parts are dropped as a whole."""

    ttl: str = ""
    partition_by: str = ""
    whole_parts: bool = False
    lifetime: str = ""


def in_words(ttl: str) -> Span | None:
    """The time that ``ttl`` names in words; None where it is an expression of ClickHouse's. ValueError beyond 50 years.

    >>> in_words("90 days").interval
    'toIntervalDay(90)'
    """
    found = _WORDS.fullmatch(ttl.strip())
    if found is None:
        return None
    span = Span(int(found[1]), found[2].lower())
    if span.days > _MOST_DAYS:
        raise ValueError(f"{span} is more than 50 years")
    return span


def of_landing(span: Span, event_time: str, ingested: str) -> Expiry:
    """Rows that are only added expire ``span`` after ``event_time``, a quoted column ("": after they came).

    A row counts as of the moment when it came where its own is later or NULL, so no row of a strange year is kept for
    ever; and none makes more than some hundred partitions, for one that is older than any row can live is put into the
    oldest.
    """
    back, moment = span.period.back, ingested
    if event_time:
        known = f"ifNull(toDateTime64({event_time}, 6, 'UTC'), {ingested})"
        moment = f"greatest(least({known}, {ingested}), {ingested} - {back})"
    return Expiry(f"{moment} + {span.interval}", f"{span.period.begin}({moment})", True, span.interval)


def of_versions(span: Span, version: str) -> Expiry:
    """Rows that newer ones replace expire by their version: the newest of a key last, so that no older one comes back.
    They can't be partitioned by it, for versions of a key would not meet."""
    return Expiry(f"{_bounded(version)} + {span.interval}")


def of_groups(span: Span, key: str) -> Expiry:
    """Groups expire ``span`` after their time ``key``, a quoted column; those without one are kept. No partition is
    shorter than a day, so that rows of strange years make no more of them than a table may have."""
    period = max(span.period, PERIODS[-2], key=lambda p: p.days)
    return Expiry(f"{_bounded(key)} + {span.interval}", f"{period.begin}({_bounded(key)})", True, span.interval)


def is_recent(span: Span, key: str) -> str:
    """The condition that a group has not expired, whether or not it is still there."""
    return f"ifNull(toDateTime64({key}, 6, 'UTC') + {span.interval} > now64(6, 'UTC'), 1)"


def _bounded(column: str) -> str:
    """``column`` within what a TTL counts right, which is a number of seconds in 32 bits; NULL is the latest."""
    latest = "toDateTime64('2050-01-01', 6, 'UTC')"
    known = f"ifNull(toDateTime64({column}, 6, 'UTC'), {latest})"
    return f"greatest(least({known}, {latest}), toDateTime64('1970-01-01', 6, 'UTC'))"
