"""Errors that a person reads.

Every message names the thing, the place, the cause and the next step.

DuetError
├── ConfigError        a setting, profile or project file is missing or wrong
├── SourceError        a source's declaration is incomplete or contradictory
├── RefusedError       SQL that cannot be kept exactly; carries model, line and column
├── UnavailableError   a server that is needed does not answer
├── PortInUseError     a port that is needed is taken
├── BusyError          another Duet process holds what is needed
├── BadRequestError    malformed input: an event, a parameter, a body
│   └── KeyReusedError an Idempotency-Key that stands for other rows already
├── NotFoundError      no such source, model, lambda, version or tag
├── OverloadedError    more work than can be taken now; carries the seconds to wait
├── ParityError        batch and real time differ
└── CommandError       a program that Duet ran (dbt, npm) failed
"""

from __future__ import annotations

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


class SourceError(DuetError):
    """A source's declaration is incomplete or contradictory."""

    code = "source"


class RefusedError(DuetError):
    """SQL that cannot be kept exactly.

    ``line`` and ``column`` count from 1 in the text that was compiled; 0 means unknown.
    ``model`` is filled in by whoever knows it.
    """

    code = "refused"

    def __init__(
        self,
        reason: str,
        *,
        remedy: str = "",
        construct: str = "",
        model: str = "",
        line: int = 0,
        column: int = 0,
    ) -> None:
        super().__init__(reason, remedy=remedy)
        self.construct = construct
        self.model = model
        self.line = line
        self.column = column

    @property
    def place(self) -> str:
        """``model:line:column``, as much of it as is known."""
        parts = [self.model] if self.model else []
        if self.line:
            parts += [str(self.line), str(self.column)] if self.column else [str(self.line)]
        return ":".join(parts)

    def __str__(self) -> str:
        head = f"{self.place}: " if self.place else ""
        what = f"{self.construct}: " if self.construct else ""
        tail = f"\n  → {self.remedy}" if self.remedy else ""
        return f"{head}{what}{self.message}{tail}"


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


class NotFoundError(DuetError):
    """No such source, model, lambda, version or tag."""

    code = "not_found"
    status = 404


class OverloadedError(DuetError):
    """More work than can be taken now."""

    code = "overloaded"
    status = 429

    def __init__(self, message: str, *, retry_after: float = 1.0, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class ParityError(DuetError):
    """Batch and real time differ."""

    code = "parity"


class CommandError(DuetError):
    """A program that Duet ran failed."""

    code = "command"
