"""The formats that a lambda answers in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from realtime.serving.failures import NotAcceptableError


@dataclasses.dataclass(frozen=True)
class Format:
    """``suffix`` as in ``/v1/lambdas/name.csv``, ``media`` as in Accept, ``clickhouse`` as ClickHouse calls it."""

    suffix: str
    media: str
    clickhouse: str
    content_type: str = ""

    @property
    def header(self) -> bytes:
        """The Content-Type of an answer."""
        return (self.content_type or self.media).encode()


JSON = Format("json", "application/json", "JSON")
FORMATS: tuple[Format, ...] = (
    JSON,
    Format("ndjson", "application/x-ndjson", "JSONEachRow"),
    Format("csv", "text/csv", "CSVWithNames", "text/csv; charset=utf-8; header=present"),
    Format("arrow", "application/vnd.apache.arrow.stream", "ArrowStream"),
    Format("parquet", "application/vnd.apache.parquet", "Parquet"),
)
BY_SUFFIX: Mapping[str, Format] = {f.suffix: f for f in FORMATS}
_BY_MEDIA: Mapping[str, Format] = {f.media: f for f in reversed(FORMATS)} | {
    "application/jsonl": BY_SUFFIX["ndjson"],
    "application/ndjson": BY_SUFFIX["ndjson"],
    "application/*": JSON,
    "text/*": BY_SUFFIX["csv"],
    "*/*": JSON,
}


def split_suffix(name: str) -> tuple[str, Format | None]:
    """A name as in the address, without its suffix, and the format that the suffix asks for.

    >>> split_suffix("top_streams.csv")[1].media
    'text/csv'
    >>> split_suffix("top_streams")
    ('top_streams', None)
    """
    stem, dot, suffix = name.rpartition(".")
    found = BY_SUFFIX.get(suffix) if dot else None
    return (stem, found) if found else (name, None)


def accepted(header: str) -> Format:
    """The format that an Accept header asks for, by its weights; JSON where it says nothing.

    >>> accepted("text/csv;q=0.5, application/x-ndjson").suffix
    'ndjson'
    """
    if not header or header == "*/*":
        return JSON
    wanted = sorted((_weighted(part) for part in header.split(",")), key=lambda pair: -pair[1])
    for media, weight in wanted:
        if weight > 0 and media in _BY_MEDIA:
            return _BY_MEDIA[media]
    raise NotAcceptableError(
        f"no format of a lambda is {header[:200]}", remedy=f"accept one of {', '.join(f.media for f in FORMATS)}"
    )


def _weighted(part: str) -> tuple[str, float]:
    media, *options = (piece.strip() for piece in part.split(";"))
    for option in options:
        name, _, value = option.partition("=")
        if name.strip() == "q":
            try:
                return media.lower(), float(value)
            except ValueError:
                return media.lower(), 0.0
    return media.lower(), 1.0
