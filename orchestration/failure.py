"""Duet's errors as Dagster shows them: the message and its remedy instead of a traceback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import dagster as dg

from realtime.errors import DuetError


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turns a DuetError into a Failure whose description is the error's message and remedy."""
    try:
        yield
    except DuetError as error:
        raise dg.Failure(description=str(error), metadata={"code": error.code}, allow_retries=False) from None
