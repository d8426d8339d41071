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
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from realtime.planner.dimensions import Keys
from realtime.planner.ir import Step
from realtime.project.manifest import Model, Project, Query, Test

Node = Model | Query | Test
Entry = TypeVar("Entry", bound=msgspec.Struct)
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

    def find(self, digest: str, kind: type[Entry]) -> Entry | None:
        """The entry kept under ``digest``; None where there is none, or it is damaged."""
        entry = self._used.get(digest) or self._entries.get(digest, b"")
        body = entry[32:]
        if not body or hashlib.sha256(digest.encode() + body).digest() != entry[:32]:
            return None
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            kept = msgspec.msgpack.decode(body, type=kind)
            self._used[digest] = entry
            return kept
        return None

    def keep(self, digest: str, kept: msgspec.Struct) -> None:
        """Keeps an entry for later runs; not one with a number that the format does not hold."""
        with contextlib.suppress(OverflowError):
            body = msgspec.msgpack.encode(kept)
            self._used[digest] = hashlib.sha256(digest.encode() + body).digest() + body

    def entries(self, digests: Iterable[str]) -> dict[str, bytes]:
        """Those of the entries that this run found or made."""
        return {digest: self._used[digest] for digest in digests if digest in self._used}

    def learn(self, entries: Mapping[str, bytes]) -> None:
        """Takes what another process made in this run."""
        self._used |= entries

    def save(self) -> None:
        """Replaces the file, in one step, by what this run found or made."""
        if self._used == self._entries:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".compiled-", dir=self._file.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.msgpack.encode(dict(sorted(self._used.items()))))
        os.replace(name, self._file)


class Digests:
    """Digests of the models of one project, each with those of all it is made of."""

    def __init__(
        self,
        project: Project,
        declared: Mapping[str, Any],
        target: str,
        unique: Mapping[str, Keys] | None = None,
        identities: Mapping[str, Keys] | None = None,
    ) -> None:
        """``declared`` is what is known of each source; ``target`` names what is compiled for; ``unique`` and
        ``identities`` are the keys of what has some, as in `Relations`."""
        self._project, self._declared = project, declared
        self._unique, self._identities = unique or {}, identities or {}
        self._common = [compiler(), target, project.adapter]
        self._found: dict[str, str] = {}

    def of_node(self, node: Node) -> str:
        """The digest of a model, a lambda or a test."""
        if isinstance(node, Model):
            return self.of(node.unique_id)
        above = [self.of(unique_id) for unique_id in node.depends_on]
        said: list[Any] = [node.options] if isinstance(node, Query) else [node.unique_id, node.config]
        return _digest([self._common, type(node).__name__, node.name, node.sql, node.description, said, above])

    def of(self, unique_id: str) -> str:
        """The digest of a model or source; of anything else, of its name."""
        if unique_id not in self._found:
            node = self._project.models.get(unique_id)
            named = [unique_id, node.name] if node is not None else [unique_id]
            known = [*(self._unique.get(name, ()) for name in named), self._identities.get(unique_id, ())]
            keys = [sorted(sorted(key) for key in found) for found in known]
            source = self._project.sources.get(unique_id)
            types = source.columns if source is not None else {}
            content = [self._common, unique_id, keys, self._declared.get(unique_id), types, self._content(node)]
            self._found[unique_id] = _digest(content)
        return self._found[unique_id]

    def _content(self, model: Model | None) -> list[Any]:
        if model is None:
            return []
        above = [self.of(unique_id) for unique_id in model.depends_on]
        said = [model.description, model.descriptions, model.options, model.kind, model.ephemeral, model.types]
        return [model.name, model.sql, model.relation.sql("duckdb"), above, said]


def _digest(content: list[Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()


class Memory:
    """A cache, if there is one, that is asked for the nodes of one project."""

    def __init__(self, cache: Cache | None, digests: Digests) -> None:
        self._cache, self._digests = cache, digests

    def find(self, node: Node, kind: type[Entry]) -> Entry | None:
        """What was kept of ``node`` as it is; None where nothing was."""
        return self._cache.find(self._digests.of_node(node), kind) if self._cache is not None else None

    def keep(self, node: Node, kept: msgspec.Struct) -> None:
        """Keeps what ``node`` became."""
        if self._cache is not None:
            self._cache.keep(self._digests.of_node(node), kept)

    def entries(self, nodes: Iterable[Node]) -> dict[str, bytes]:
        """Those of the entries that this run found or made."""
        return self._cache.entries(map(self._digests.of_node, nodes)) if self._cache is not None else {}

    def learn(self, entries: Mapping[str, bytes]) -> None:
        """Takes what another process made in this run."""
        if self._cache is not None:
            self._cache.learn(entries)


@functools.cache
def compiler() -> str:
    """A digest of Duet's own code and the versions of the libraries that decide what comes out."""
    found = hashlib.sha256(repr([(n, importlib.metadata.version(n)) for n in _LIBRARIES]).encode())
    root = Path(__file__).parent
    for file in sorted(root.rglob("*.py")):
        found.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return found.hexdigest()
