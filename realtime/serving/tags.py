"""Tags: names such as ``production`` that point to versions of a lambda and are moved, with their history.

A move is one row in ``<database>_duet.tags``, so every server sees the tag before it or after it; the last one counts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.moment import next_moment
from realtime.errors import BadRequestError, NotFoundError

TABLE = (
    "name String, tag String, versions Array(Tuple(version String, weight UInt32)), "
    "at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')"
)
"""Columns of the table ``tags``; no version in a row: the tag was removed."""
ENGINE = "MergeTree ORDER BY (name, tag, at)"
CURRENT = """
SELECT name, tag, argMax(tags.versions, tags.at) AS versions, formatDateTime(max(tags.at), '%FT%TZ') AS at
FROM {database:Identifier}.tags GROUP BY name, tag HAVING notEmpty(versions) ORDER BY name, tag
FORMAT JSONEachRow
"""
_HISTORY = """
SELECT versions, formatDateTime(at, '%FT%TZ') AS at FROM {database:Identifier}.tags
WHERE name = {name:String} AND tag = {tag:String} ORDER BY tags.at
"""
_TAG = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_LARGEST = 1_000_000


class Share(msgspec.Struct, frozen=True):
    """A version, called ``weight`` times of the sum of a tag's weights."""

    version: str
    weight: int = 1


class Tag(msgspec.Struct, frozen=True):
    """Where ``tag`` of lambda ``name`` points since ``at``; without versions it was removed."""

    name: str
    tag: str
    versions: tuple[Share, ...]
    at: str = ""

    def pick(self, key: str = "") -> str:
        """A version by the weights: always the same one for the same non-empty ``key``, as long as the tag stays.

        >>> Tag("recent", "production", (Share("a", 9), Share("b", 1))).pick("visitor 1")
        'a'
        """
        whole = sum(share.weight for share in self.versions)
        seed = f"{self.name}/{self.tag}/{key}".encode()
        place = (
            int.from_bytes(hashlib.blake2b(seed, digest_size=8).digest()) % whole if key else random.randrange(whole)
        )
        for share in self.versions:
            place -= share.weight
            if place < 0:
                return share.version
        raise AssertionError("the weights are less than their sum")


@dataclasses.dataclass(frozen=True)
class Tags:
    """The tags of the lambdas deployed to ``database``; ``known`` are the versions of each, the latest last."""

    client: ClickHouse
    database: str
    known: Mapping[str, Sequence[str]]

    def current(self) -> list[Tag]:
        """Every tag that points somewhere."""
        found = self.client.bytes(CURRENT, {"database": f"{self.database}_duet"})
        return [msgspec.json.decode(line, type=Tag) for line in found.splitlines()]

    def history(self, name: str, tag: str) -> list[Tag]:
        """Where it pointed, oldest first. NotFoundError where there is no such lambda."""
        self._versions(name)
        rows = self.client.rows(_HISTORY, {"database": f"{self.database}_duet", "name": name, "tag": tag})
        return [Tag(name, tag, tuple(_share(v) for v in row["versions"]), row["at"]) for row in rows]

    def move(self, name: str, tag: str, targets: Sequence[str]) -> Tag:
        """Points ``tag`` to ``targets``: a version, its first letters or ``latest``, each with ``=weight`` where there
        are several. NotFoundError, BadRequestError."""
        if not _TAG.fullmatch(tag) or tag == "latest":
            raise BadRequestError(
                f"{tag!r} can't be a tag" + (": latest is moved by duet deploy" if tag == "latest" else ""),
                remedy="use a to z, 0 to 9, _ and -, up to 63 of them",
            )
        shares = [self._target(name, target) for target in targets]
        versions = [share.version for share in shares]
        if len(set(versions)) < len(versions):
            raise BadRequestError(f"tag {tag} points twice to the same version", remedy="give each version once")
        return self._write(Tag(name, tag, tuple(shares)))

    def back(self, name: str, tag: str) -> Tag:
        """Points ``tag`` to where it pointed before its last move; NotFoundError where it has not been moved."""
        history = self.history(name, tag)
        if len(history) < 2:
            raise NotFoundError(
                f"tag {tag} of lambda {name} has not been moved", remedy=f"duet lambda tag {name} {tag} VERSION"
            )
        return self._write(Tag(name, tag, history[-2].versions))

    def remove(self, name: str, tag: str) -> Tag:
        """Takes ``tag`` away; NotFoundError where there is none."""
        history = self.history(name, tag)
        if not history or not history[-1].versions:
            raise NotFoundError(f"lambda {name} has no tag {tag}", remedy="see duet lambda list")
        return self._write(Tag(name, tag, ()))

    def version(self, name: str, given: str) -> str:
        """The version of lambda ``name`` that ``given`` means: its first letters, or ``latest``."""
        known = self._versions(name)
        if given == "latest":
            return known[-1]
        found = [version for version in known if given and version.startswith(given)]
        if len(found) == 1:
            return found[0]
        what = f"{len(found)} versions that begin with" if found else "no version"
        raise NotFoundError(f"lambda {name} has {what} {given}", remedy=f"its versions are {', '.join(known[-20:])}")

    def _target(self, name: str, target: str) -> Share:
        version, equals, text = target.partition("=")
        weight = int(text) if text.isascii() and text.isdigit() else 0
        if equals and not 0 < weight <= _LARGEST:
            raise BadRequestError(f"{target!r} has no weight", remedy=f"write version=1 to version={_LARGEST}")
        return Share(self.version(name, version), weight or 1)

    def _versions(self, name: str) -> Sequence[str]:
        if name not in self.known:
            raise NotFoundError(f"there is no lambda {name}", remedy=f"the lambdas are {', '.join(sorted(self.known))}")
        return self.known[name]

    def _write(self, tag: Tag) -> Tag:
        row: list[Any] = [tag.name, tag.tag, [(s.version, s.weight) for s in tag.versions]]
        table = f"{self.database}_duet.tags"
        row.append(next_moment(self.client, table))
        self.client.insert(table, ["name", "tag", "versions", "at"], [row])
        return tag


def _share(found: Any) -> Share:
    return Share(found["version"], found["weight"]) if isinstance(found, dict) else Share(*found)
