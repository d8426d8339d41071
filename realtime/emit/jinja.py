"""Text that dbt renders: what only looks like Jinja is kept from being taken for it."""

from __future__ import annotations

import re
from collections.abc import Callable

from jinja2 import Environment, StrictUndefined

_TEMPLATES = Environment(undefined=StrictUndefined, autoescape=False)
# The only Jinja in generated SQL is what `realtime.planner.relations` writes.
_OURS = re.compile(r"(\{\{ (?:ref|source)\('[^'{}]*'(?:, '[^'{}]*')?\) \}\})")
_OPENS = re.compile(r"\{(?=[{%#])")


def escaped(text: str) -> str:
    """``text`` so that dbt's rendering gives it back, its ``ref()`` and ``source()`` resolved.

    >>> escaped("select '{# a {{' from {{ ref('m') }}")
    "select '{{ '{' }}# a {{ '{' }}{' from {{ ref('m') }}"
    """
    parts = _OURS.split(text)
    return "".join(part if place % 2 else _OPENS.sub("{{ '{' }}", part) for place, part in enumerate(parts))


def rendered(text: str, ref: Callable[[str], str], source: Callable[[str, str], str]) -> str:
    """``text`` as dbt renders it, ``ref()`` and ``source()`` being these.

    >>> rendered("select 1 from {{ ref('m') }}", lambda model: f"db.{model}", lambda source, table: table)
    'select 1 from db.m'
    """
    return _TEMPLATES.from_string(text).render(ref=ref, source=source)
