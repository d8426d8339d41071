"""What an author may say in ``meta.realtime`` and ``meta.lambda``."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable


def unknown_options(
    given: Iterable[str], known: Collection[str], where: str = "meta.realtime"
) -> tuple[str, str] | None:
    """What of ``given`` is no option of ``where``, and what may be meant; None where all are ``known``.

    >>> unknown_options(["mode", "orderby"], ["mode", "order_by", "ttl"])
    ('unknown option orderby', 'did you mean order_by? meta.realtime takes mode, order_by, ttl')
    """
    unknown = sorted(set(map(str, given)) - set(known))
    if not unknown:
        return None
    return f"unknown option {', '.join(unknown)}", f"{nearest(unknown, known)}{where} takes {_listed(known)}"


def nearest(given: Iterable[str], known: Collection[str]) -> str:
    """``did you mean …? `` where a name of ``known`` is close to one of ``given``; else nothing."""
    close = [c for name in given for c in difflib.get_close_matches(name.lower(), sorted(known), 1)]
    return f"did you mean {' and '.join(close)}? " if close else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
