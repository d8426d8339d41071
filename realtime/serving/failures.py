"""What can go wrong while a lambda is answered, and ClickHouse's error codes for it.

DuetError (realtime.errors)
└── QueryError               the query ended in an error; says nothing of the database
    ├── QueryTimeoutError    it took longer than a lambda may
    ├── TooManyRowsError     its answer is larger than a lambda's may be
    ├── OutOfMemoryError     it needs more memory than a query may take
    ├── GoneError            it reads a model that is not deployed any more
    ├── AwayError            a shard of the cluster is away, or has not what it reads
    ├── PageError            a page can't be followed by another
    └── ComputationError     a value is out of range, or a division is by zero: the batch engine refuses it too

A request that is too large is a RequestTooLargeError, an Accept header that can't be met a NotAcceptableError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from realtime.errors import BadRequestError, DuetError, OverloadedError
from realtime.serving.limits import Limits


class QueryError(DuetError):
    """The query ended in an error that the caller can't mend."""

    code = "internal"


class QueryTimeoutError(QueryError):
    """It took longer than a lambda may."""

    code = "timeout"
    status = 504


class TooManyRowsError(QueryError):
    """Its answer is larger than a lambda's may be."""

    code = "too_many_rows"
    status = 422


class OutOfMemoryError(QueryError):
    """It needs more memory than a query may take."""

    code = "out_of_memory"
    status = 503


class GoneError(QueryError):
    """It reads a model that is not deployed any more."""

    code = "gone"
    status = 410


class AwayError(QueryError):
    """A shard of the cluster is away, or has not what it reads."""

    code = "unavailable"
    status = 503


class ComputationError(QueryError):
    """A value is out of range, or a division is by zero."""

    code = "computation"
    status = 422


class PageError(QueryError):
    """A page can't be followed by another: its last row is like the next one, or too long for a cursor."""

    code = "page"
    status = 422


class RequestTooLargeError(BadRequestError):
    """A body or its parameters are larger than is taken."""

    code = "too_large"
    status = 413


class NotAcceptableError(BadRequestError):
    """No format that the caller accepts."""

    code = "not_acceptable"
    status = 406


_TIMEOUT = QueryTimeoutError, "the lambda took too long, more than {seconds:g} s", "narrow its parameters"
_TOO_MANY = (
    TooManyRowsError,
    "the answer has too many rows: more than {rows:,}, or more than {megabytes} MiB",
    "narrow the parameters, or ask for fewer rows",
)
_MEMORY = OutOfMemoryError, "the lambda needs more memory than it may take", "narrow its parameters"
_GONE = GoneError, "this version reads what is not deployed any more", "call the latest version"
_AWAY = AwayError, "a shard of the cluster does not answer", "try again"
_COMPUTATION = ComputationError, "a value in the lambda's computation is out of range", "check the parameters"
_PARAMETER = BadRequestError, "a parameter's value does not fit where the lambda uses it", "a limit takes 0 and more"
# By number, as in ClickHouse's ErrorCodes.cpp.
_BY_CODE: Mapping[int, tuple[type[DuetError], str, str]] = {
    **dict.fromkeys((159, 160, 209), _TIMEOUT),  # TIMEOUT_EXCEEDED, TOO_SLOW, SOCKET_TIMEOUT
    **dict.fromkeys((158, 307, 396), _TOO_MANY),  # TOO_MANY_ROWS, TOO_MANY_BYTES, TOO_MANY_ROWS_OR_BYTES
    241: _MEMORY,  # MEMORY_LIMIT_EXCEEDED
    **dict.fromkeys((47, 60, 81), _GONE),  # UNKNOWN_IDENTIFIER, UNKNOWN_TABLE, UNKNOWN_DATABASE
    279: _AWAY,  # ALL_CONNECTION_TRIES_FAILED, also of a shard that lacks the table
    # DECIMAL_OVERFLOW, ARGUMENT_OUT_OF_BOUND, ILLEGAL_DIVISION, VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE,
    # FUNCTION_THROW_IF_VALUE_IS_NON_ZERO, CANNOT_CONVERT_TYPE, CANNOT_PARSE_TEXT/_NUMBER/_DATE/_DATETIME
    **dict.fromkeys((407, 69, 153, 321, 395, 70, 6, 27, 72, 38, 41), _COMPUTATION),
    457: _PARAMETER,  # BAD_QUERY_PARAMETER
}
_BUSY = {202}  # TOO_MANY_SIMULTANEOUS_QUERIES


_LIMITS: Mapping[type[DuetError], Callable[[Limits], dict[str, float]]] = {
    QueryTimeoutError: lambda limits: {"seconds": limits.seconds},
    TooManyRowsError: lambda limits: {"rows": limits.rows, "megabytes": limits.bytes >> 20},
    OutOfMemoryError: lambda limits: {"megabytes": limits.memory >> 20} if limits.memory else {},
}
"""What of the limits goes into an error's details, in the words of ``meta.lambda.limits``."""


def failure(code: int, name: str, limits: Limits) -> DuetError:
    """The error to answer with where ClickHouse ended the query of lambda ``name``, which has ``limits``, with
    ``code``."""
    if code in _BUSY:
        return OverloadedError("the database takes no more queries now", remedy="try again")
    kind, message, remedy = _BY_CODE.get(code, (QueryError, "the lambda failed", "quote the request id to its owner"))
    said = message.format(seconds=limits.seconds, rows=limits.rows, megabytes=limits.bytes >> 20)
    broken = _LIMITS[kind](limits) if kind in _LIMITS else {}
    return kind(f"lambda {name}: {said}", remedy=remedy, **{"lambda": name}, **({"limit": broken} if broken else {}))
