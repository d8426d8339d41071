"""What earlier compiles found out, so that unchanged models are not compiled again.

An entry is found by a digest of everything that its model's plan depends on: the model, everything it is made of
down to the sources, and the code and the libraries that compile it. Nothing has to be invalidated: what changed is
looked for under another digest. An entry that can't be read, or whose bytes are not those that were written, is as
good as none.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from realtime.planner.ir import SourceSpec, Step
from realtime.planner.relations import Relations
from realtime.project.manifest import Model, Project

_LIBRARIES = ("sqlglot", "duckdb", "msgspec")


class Kept(msgspec.Struct, frozen=True):
    """A model's step; ``inline`` says that what reads the model contains it."""

    step: Step
    inline: bool


class Cache:
    """The entries of one file. What this run did not ask for is dropped when it is saved."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._entries: Mapping[str, bytes] = {}
        self._used: dict[str, bytes] = {}
        with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
            self._entries = msgspec.msgpack.decode(file.read_bytes(), type=dict[str, bytes])

    def find(self, digest: str) -> Kept | None:
        """The entry kept under ``digest``; None where there is none, or it is damaged."""
        entry = self._entries.get(digest, b"")
        body = entry[32:]
        if not body or hashlib.sha256(digest.encode() + body).digest() != entry[:32]:
            return None
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            kept = msgspec.msgpack.decode(body, type=Kept)
            self._used[digest] = entry
            return kept
        return None

    def keep(self, digest: str, kept: Kept) -> None:
        """Keeps an entry for later runs."""
        body = msgspec.msgpack.encode(kept)
        self._used[digest] = hashlib.sha256(digest.encode() + body).digest() + body

    def save(self) -> None:
        """Replaces the file, in one step, by what this run found or made."""
        if self._used == self._entries:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".compiled-", dir=self._file.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.msgpack.encode(self._used))
        os.replace(name, self._file)


class Digests:
    """Digests of the models of one project, each with those of all it is made of."""

    def __init__(self, project: Project, relations: Relations, specs: Mapping[str, SourceSpec], database: str) -> None:
        self._project, self._relations, self._specs = project, relations, specs
        self._common = [compiler(), database, project.adapter]
        self._found: dict[str, str] = {}

    def of(self, unique_id: str) -> str:
        """The digest of a model or source; of anything else, of its name."""
        if unique_id not in self._found:
            unique = self._relations.unique
            node = self._project.models.get(unique_id)
            named = [unique_id, node.name] if node is not None else [unique_id]
            keys = [sorted(sorted(key) for key in unique.get(name, ())) for name in named]
            content = [self._common, unique_id, keys, self._specs.get(unique_id), self._content(node)]
            self._found[unique_id] = hashlib.sha256(msgspec.json.encode(content)).hexdigest()
        return self._found[unique_id]

    def _content(self, model: Model | None) -> list[Any]:
        if model is None:
            return []
        above = [self.of(unique_id) for unique_id in model.depends_on]
        said = [model.description, model.descriptions, model.options, model.kind, model.ephemeral]
        return [model.name, model.sql, model.relation.sql("duckdb"), above, said]


@functools.cache
def compiler() -> str:
    """A digest of Duet's own code and the versions of the libraries that decide what comes out."""
    found = hashlib.sha256(repr([(n, importlib.metadata.version(n)) for n in _LIBRARIES]).encode())
    root = Path(__file__).parent
    for file in sorted(root.rglob("*.py")):
        found.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return found.hexdigest()
