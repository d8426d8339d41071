"""What became of a test: on each side, and whether the sides agree."""

from __future__ import annotations

import enum

import msgspec

from realtime.parity.matching import Example


class Status(enum.StrEnum):
    """How a test ended on one side."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    ERROR = "error"
    NOT_APPLICABLE = "not applicable"


class Verdict(msgspec.Struct, frozen=True):
    """A test on one side. ``failures`` counts failing rows of a data test, and rows of a unit test that are on one
    side only; ``reason`` says what is wrong, or why the test was not run; ``examples`` are rows that differ."""

    status: Status
    reason: str = ""
    failures: int = 0
    examples: tuple[Example, ...] = ()


def not_applicable(reason: str) -> Verdict:
    """A test that has no meaning on a side."""
    return Verdict(Status.NOT_APPLICABLE, reason)


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A test in batch, in real time and, for unit tests, through materialized views. ``disagreement`` says where the
    sides differ; empty where they agree."""

    name: str
    kind: str
    model: str
    batch: Verdict
    realtime: Verdict
    views: Verdict
    disagreement: str = ""

    @property
    def failed(self) -> bool:
        """Whether a side fails, or the sides disagree."""
        verdicts = (self.batch, self.realtime, self.views)
        return bool(self.disagreement) or any(v.status in (Status.FAIL, Status.ERROR) for v in verdicts)


def disagreement(batch: Verdict, realtime: Verdict, views: Verdict, *, counted: bool) -> str:
    """Where the sides differ in words; ``counted`` says that the numbers of failing rows must be equal too. A side
    with an error has no verdict to differ by.

    >>> disagreement(Verdict(Status.PASS), Verdict(Status.FAIL), not_applicable("no views"), counted=False)
    'batch: pass, real time: fail'
    """
    sides = {"batch": batch, "real time": realtime, "through views": views}
    applied = {side: v for side, v in sides.items() if v.status not in (Status.NOT_APPLICABLE, Status.ERROR)}
    if len({v.status for v in applied.values()}) > 1:
        return ", ".join(f"{side}: {v.status}" for side, v in applied.items())
    if counted and len({v.failures for v in applied.values()}) > 1:
        return ", ".join(f"{side}: {v.failures} failing rows" for side, v in applied.items())
    return ""
