"""Names of a project as names of Python: words that are taken and letters that are none give way."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterable

_SAID = ("int", "str", "float", "bool", "list", "dt", "decimal", "uuid", "Any", "Literal", "Sequence", "Iterator")
_TAKEN = frozenset({*keyword.kwlist, *_SAID, "AsyncIterator", "self", "close"})
"""What the generated code says in annotations, and what its classes have."""


def identifier(name: str) -> str:
    """``name`` as a name of Python.

    >>> [identifier(n) for n in ("stream_id", "from", "größe", "2nd", "a-b c", "int", "__x", "")]
    ['stream_id', 'from_', 'größe', 'n2nd', 'a_b_c', 'int_', 'x', 'n']
    """
    # Python takes the letters of NFKC for the same name.
    found = re.sub(r"\W", "_", unicodedata.normalize("NFKC", name)).lstrip("_")
    found = found if found.isidentifier() else f"n{found}"
    found = found if found.isidentifier() else "n" + re.sub(r"[^0-9A-Za-z_]", "_", found[1:])
    return f"{found}_" if found in _TAKEN else found


def camel(name: str) -> str:
    """``name`` as a class's.

    >>> camel("stream_by_minute"), camel("2nd")
    ('StreamByMinute', 'N2nd')
    """
    return "".join(part[:1].upper() + part[1:] for part in identifier(name).split("_"))


def distinct(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """``names`` with ``_`` at the end of those that are there already.

    >>> distinct(["a", "b", "a", "a_"], ["b"])
    ['a', 'b_', 'a_', 'a__']
    """
    used, found = set(taken), []
    for name in names:
        while name in used:
            name += "_"
        used.add(name)
        found.append(name)
    return found
