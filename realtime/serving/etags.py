"""Entity tags: equal rows have equal ones, whatever the query took."""

from __future__ import annotations

import hashlib

from realtime.serving.formats import JSON, Format
from realtime.serving.pages import Page

_STATISTICS = b',"statistics":{'


def etag(form: Format, body: bytes) -> bytes:
    """The weak tag of an answer: its time and what it read are no part of it, nor the moment in the cursor of a page,
    but whether another page follows, and where.

    >>> rows = b'{"meta":[],"data":[{"a":1}],"rows":1,"statistics":{"elapsed":0.1}}'
    >>> etag(JSON, rows) == etag(JSON, rows.replace(b"0.1", b"0.2"))
    True
    """
    end = body.rfind(_STATISTICS) if form is JSON else len(body)
    found = hashlib.sha256(memoryview(body)[:end])
    if isinstance(body, Page):
        found.update(body.cut.place.encode())
    return b'W/"%s"' % found.hexdigest()[:24].encode()


def matches(header: bytes, tag: bytes) -> bool:
    """Whether an If-None-Match header names ``tag``, weak or not.

    >>> matches(b'"x", W/"a"', b'W/"a"'), matches(b"*", b'W/"a"'), matches(b'W/"b"', b'W/"a"')
    (True, True, False)
    """
    wanted = tag.removeprefix(b"W/")
    given = [part.strip().removeprefix(b"W/") for part in header.split(b",")]
    return wanted in given or b"*" in given
