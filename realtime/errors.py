"""Errors that a person reads.

Every message names the thing, the place, the cause and the next step.

DuetError
├── ConfigError        a setting, profile or project file is missing or wrong
│   └── NotBuiltError  batch has not built a model, or not as it is now
├── SourceError        a source's declaration is incomplete or contradictory
├── RefusedError       SQL that cannot be kept exactly; carries project, model, file, line and column
│   └── WaitingError   a model that reads what is refused, and has nothing against it itself
├── NotCompiledError   a project in which something is refused; carries every refusal
├── UnavailableError   a server that is needed does not answer
├── PortInUseError     a port that is needed is taken
├── BusyError          another Duet process holds what is needed
├── BadRequestError    malformed input: an event, a parameter, a body
│   ├── KeyReusedError an Idempotency-Key that stands for other rows already
│   ├── MethodError    a request of a kind that a source does not take
│   └── SlowBodyError  a request's body that does not come
├── NotFoundError      no such source, model, lambda, version or tag
├── OverloadedError    more work than can be taken now; carries the seconds to wait
├── ParityError        batch and real time differ
└── CommandError       a program that Duet ran (dbt, npm) failed
    └── FullError      a disk has no room for what was to be written
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar


class DuetError(Exception):
    """Base of all errors; ``code`` is stable, ``remedy`` says what to do next."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, remedy: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.details = details

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.remedy}" if self.remedy else self.message


class ConfigError(DuetError):
    """A setting, profile or project file is missing or wrong."""

    code = "config"


class NotBuiltError(ConfigError):
    """Batch has not built a model that is to be copied, or not with the columns that it has now."""

    code = "not_built"


class SourceError(DuetError):
    """A source's declaration is incomplete or contradictory."""

    code = "source"


class RefusedError(DuetError):
    """SQL that cannot be kept exactly.

    ``line`` and ``column`` count from 1 in the text that was compiled, and in ``file`` once that is known; 0 means
    unknown. ``project``, ``model`` and ``file`` are filled in by whoever knows them. ``others`` are further refusals
    of the same statement, and ``part`` is the CTE that this one stands in.
    """

    code = "refused"

    def __init__(
        self,
        reason: str,
        *,
        remedy: str = "",
        construct: str = "",
        file: str = "",
        line: int = 0,
        column: int = 0,
    ) -> None:
        super().__init__(reason, remedy=remedy)
        self.construct = construct
        self.project = self.model = ""
        self.file = file
        self.line = line
        self.column = column
        self.part = ""
        self.others: tuple[RefusedError, ...] = ()

    @property
    def place(self) -> str:
        """``file:line:column``, as much of it as is known."""
        parts = [self.file] if self.file else []
        if self.line:
            parts += [str(self.line), str(self.column)] if self.column else [str(self.line)]
        return ":".join(parts)

    def __str__(self) -> str:
        head = f"{self.place}: " if self.place else ""
        what = f"{self.construct}: " if self.construct and not self.message.startswith(self.construct) else ""
        tail = f"\n  → {self.remedy}" if self.remedy else ""
        return f"{head}{what}{self.message}{tail}"


class WaitingError(RefusedError):
    """A model that reads what is refused, and has nothing against it itself: ``waits_for`` names those refused."""

    def __init__(self, waits_for: Iterable[str]) -> None:
        self.waits_for = tuple(sorted(set(waits_for)))
        super().__init__(f"waits for {', '.join(self.waits_for)}", remedy="mend what it waits for")


class NotCompiledError(DuetError):
    """A project in which something is refused: ``details["refusals"]`` are records of every refusal."""

    code = "refused"

    def __init__(self, refusals: Iterable[DuetError]) -> None:
        every = tuple(refusals)
        waiting = sum(isinstance(e, WaitingError) for e in every)
        and_waiting = f" and {waiting} waiting" if waiting else ""
        super().__init__(
            f"{len(every) - waiting} refused{and_waiting}; nothing was written",
            remedy="mend them and compile again",
            refusals=[_record(e) for e in every],
        )


def _record(error: DuetError) -> dict[str, Any]:
    """What an error says, as data."""
    found = {"code": error.code, "reason": error.message, "remedy": error.remedy, **error.details}
    if isinstance(error, RefusedError):
        places = ("project", "model", "file", "line", "column", "construct")
        found |= {name: getattr(error, name) for name in places}
        found["waits_for"] = list(error.waits_for) if isinstance(error, WaitingError) else []
    return found


def together(refusals: Iterable[RefusedError]) -> RefusedError:
    """The first of ``refusals``, which carries the others; what says the same of the same place counts once."""
    every = [one for refusal in refusals for one in (refusal, *refusal.others)]
    different = {(e.line, e.column, e.construct, e.message): e for e in reversed(every)}
    first, *others = [e for e in every if any(e is kept for kept in different.values())]
    first.others = tuple(others)
    return first


class UnavailableError(DuetError):
    """A server that is needed does not answer."""

    code = "unavailable"
    status = 503


class PortInUseError(DuetError):
    """A port that is needed is taken."""

    code = "port_in_use"


class BusyError(DuetError):
    """Another Duet process holds what is needed."""

    code = "busy"
    status = 409


class BadRequestError(DuetError):
    """Malformed input: an event, a parameter, a body."""

    code = "bad_request"
    status = 400


class KeyReusedError(BadRequestError):
    """An Idempotency-Key that stands for other rows already."""

    code = "idempotency_key_reused"
    status = 422


class MethodError(BadRequestError):
    """A request of a kind that a source does not take; `details` names those that are ``allowed``."""

    code = "method_not_allowed"
    status = 405


class SlowBodyError(BadRequestError):
    """A request's body that does not come."""

    code = "request_timeout"
    status = 408


class NotFoundError(DuetError):
    """No such source, model, lambda, version or tag."""

    code = "not_found"
    status = 404


class OverloadedError(DuetError):
    """More work than can be taken now."""

    code = "overloaded"
    status = 429

    def __init__(self, message: str, *, retry_after: float = 1.0, remedy: str = "", **details: Any) -> None:
        super().__init__(message, remedy=remedy, **details)
        self.retry_after = retry_after


class ParityError(DuetError):
    """Batch and real time differ."""

    code = "parity"


class CommandError(DuetError):
    """A program that Duet ran failed."""

    code = "command"


class FullError(CommandError):
    """A disk has no room for what was to be written."""

    code = "full"
