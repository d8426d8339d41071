"""What an author says of calls in ``meta.lambda``: examples, limits, pages, and how old an answer may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from realtime.errors import RefusedError
from realtime.planner.ir import CallLimits, LambdaSpec, Param
from realtime.planner.options import unknown_options

OPTIONS = frozenset({"examples", "limits", "cache", "states", "paging", "approximate"})
LIMITS: Mapping[str, tuple[type, float, float]] = {
    "seconds": (float, 0.01, 60),
    "rows": (int, 1, 1_000_000),
    "megabytes": (int, 1, 1 << 20),
    "concurrency": (int, 1, 1_000),
}
"""Each with its type, the least and the most."""
_MOST_ROWS = 10_000
_PAGING: Mapping[str, tuple[type, float, float]] = {"size": (int, 1, _MOST_ROWS), "max": (int, 1, _MOST_ROWS)}
_SIZE, _MOST = 100, 1_000
_CACHE: Mapping[str, tuple[type, float, float]] = {"seconds": (float, 0.1, 86_400)}


class PageSizes(msgspec.Struct, frozen=True):
    """Rows of a page: as many unless the caller says, and at most."""

    size: int
    most: int


class CallOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of ``meta.lambda`` decides how calls are answered, and so is a part of the version."""

    limits: CallLimits | None = None
    cache_seconds: float = 0.0
    states: bool = True
    """Whether it may be answered from states where it aggregates a stream."""
    paging: PageSizes | None = None
    approximate: bool = False
    """Whether a vector index may decide which rows are the nearest."""


def call_options(given: Mapping[str, Any]) -> CallOptions:
    """What ``meta.lambda`` says; RefusedError naming what is unknown there, or out of range."""
    _check_known(given, OPTIONS, "meta.lambda")
    limits = _numbers(given, "limits", LIMITS)
    cache = _numbers(given, "cache", _CACHE)
    states = _flag(given, "states", True, "write `states: false` to read rows, or leave it")
    approximate = _flag(given, "approximate", False, "write `approximate: true` to use a vector index, or leave it")
    own = CallLimits(**limits) if limits else None
    paging = _paging(given)
    if paging is not None and own is not None and 0 < own.rows <= paging.most:
        raise RefusedError(
            f"meta.lambda.limits.rows is {own.rows:,}, but a page may have {paging.most:,} rows",
            remedy="leave limits.rows out: paging.max is the limit",
        )
    if paging is not None and approximate:
        raise RefusedError(
            "meta.lambda.approximate goes with no pages: each page could miss other rows",
            remedy="leave one of them out",
        )
    seconds = cache.get("seconds", 0.0)
    return CallOptions(limits=own, cache_seconds=seconds, states=states, paging=paging, approximate=approximate)


def _paging(given: Mapping[str, Any]) -> PageSizes | None:
    """What is said of pages; ``paging: true`` leaves both sizes to Duet."""
    if given.get("paging") is True:
        return PageSizes(_SIZE, _MOST)
    found = _numbers(given, "paging", _PAGING) if given.get("paging") is not False else {}
    if not found:
        return None
    most = int(found.get("max", max(_MOST, found.get("size", 0))))
    size = int(found.get("size", min(_SIZE, most)))
    if size > most:
        raise RefusedError(
            f"meta.lambda.paging.size is {size}, more than its max of {most}", remedy="give a larger max"
        )
    return PageSizes(size, most)


def _flag(given: Mapping[str, Any], option: str, default: bool, remedy: str) -> bool:
    found = given.get(option, default)
    if not isinstance(found, bool):
        raise RefusedError(f"meta.lambda.{option} is {found!r}", remedy=remedy)
    return found


def in_words(spec: LambdaSpec) -> str:
    """What ``spec`` says of its calls, in sentences; empty where it says nothing.

    >>> limits = CallLimits(seconds=2, concurrency=4)
    >>> in_words(LambdaSpec(name="a", version="", select="", batch="", params=(), columns=(), limits=limits))
    'A call may take 2 s. 4 of its queries run at a time.'
    """
    own = spec.limits or CallLimits()
    may = [f"take {own.seconds:g} s"] if own.seconds else []
    may += [f"answer {own.rows:,} rows"] if own.rows else []
    may += [f"use {own.megabytes:,} MiB of memory"] if own.megabytes else []
    said = [f"A call may {' and '.join(may)}."] if may else []
    said += [f"{own.concurrency:,} of its queries run at a time."] if own.concurrency else []
    said += (
        [f"Pages of {spec.paging.size:,} rows, at most {spec.paging.most:,}, by {spec.paging.order}."]
        if spec.paging
        else []
    )
    said += [f"An answer may be {spec.cache_seconds:g} s old."] if spec.cache_seconds else []
    said += ["It is approximate: an index finds the nearest rows, and may miss some."] if spec.nearest else []
    return " ".join(said)


def call_examples(given: Mapping[str, Any], params: tuple[Param, ...]) -> tuple[dict[str, Any], ...]:
    """The parameter sets of ``meta.lambda.examples``; RefusedError where one does not fit ``params``."""
    examples = given.get("examples") or []
    if not isinstance(examples, list) or not all(isinstance(e, dict) for e in examples):
        raise RefusedError(
            "meta.lambda.examples is not a list of mappings", remedy="write one `- {name: value}` for each example"
        )
    names = {p.name for p in params}
    for example in examples:
        unknown = sorted(set(example) - names)
        missing = [p.name for p in params if p.required and p.default is None and p.name not in example]
        if unknown or missing:
            what = f"gives {', '.join(unknown)}, which is no parameter" if unknown else f"lacks {', '.join(missing)}"
            raise RefusedError(f"an example {what}", remedy=f"its parameters are {', '.join(sorted(names)) or 'none'}")
    return tuple(examples)


def _numbers(given: Mapping[str, Any], what: str, known: Mapping[str, tuple[type, float, float]]) -> dict[str, Any]:
    """The numbers of the mapping ``what``; {} where it is not there."""
    found, where = given.get(what), f"meta.lambda.{what}"
    if found is None:
        return {}
    if not isinstance(found, Mapping) or not found:
        raise RefusedError(f"{where} is {found!r}", remedy=f"write a mapping, as in {{{next(iter(known))}: 5}}")
    _check_known(found, known, where)
    return {name: _number(value, f"{where}.{name}", *known[name]) for name, value in found.items()}


def _number(given: object, where: str, kind: type, least: float, most: float) -> float | int:
    fits = isinstance(given, (int, kind)) and not isinstance(given, bool)
    if not fits or not least <= given <= most:  # type: ignore[operator]  # a number, as was just seen
        what = "a whole number" if kind is int else "a number"
        raise RefusedError(f"{where} is {given!r}", remedy=f"give {what} from {least:,} to {most:,}")
    return kind(given)  # type: ignore[no-any-return]


def _check_known(given: Mapping[str, Any], known: Any, where: str) -> None:
    problem = unknown_options(given, known, where)
    if problem is not None:
        raise RefusedError(problem[0] + f" in {where}", remedy=problem[1])
