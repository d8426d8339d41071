"""Tokens: who may call which lambdas and send which rows, with fixed parameters, a rate and an end.

Only a hash of a token's secret is stored, in ``<database>_duet.tokens``; every change is a new row, and the last one of
an id counts. Servers follow within a second.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.moment import next_moment
from realtime.errors import BadRequestError, DuetError, NotFoundError

TABLE = "id String, hash String, grants String, at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')"
"""Columns of the table ``tokens``; ``grants`` is a `Grant` as JSON, empty where the token was revoked."""
ENGINE = "MergeTree ORDER BY (id, at)"
CURRENT = """
SELECT id, argMax(tokens.hash, tokens.at) AS hash, argMax(tokens.grants, tokens.at) AS grants
FROM {database:Identifier}.tokens GROUP BY id ORDER BY id FORMAT JSONEachRow
"""
EVERYTHING = "*"
_PREFIX = "duet_"
_ID, _SECRET = 6, 24
"""Bytes of randomness."""


class UnauthorizedError(DuetError):
    """No token, or one that is not valid any more."""

    code = "unauthorized"
    status = 401


class ForbiddenError(DuetError):
    """A token that is not for this."""

    code = "forbidden"
    status = 403


class Grant(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a token is for.

    ``run`` are names of lambdas and ``ingest`` of sources, ``*`` being all; ``admin`` may read what there is: the
    lists, the API's description, metrics. ``fixed`` are parameters that every call has, whatever the caller says.
    ``rate`` is calls per second, 0: as many as come. ``expires`` is a moment in UTC, ISO 8601.
    """

    name: str
    run: tuple[str, ...] = ()
    ingest: tuple[str, ...] = ()
    admin: bool = False
    fixed: dict[str, Any] = {}
    rate: float = 0
    expires: str = ""

    def check(self, what: str, name: str) -> None:
        """ForbiddenError where the token is not for ``what`` of ``name``: to run a lambda, to ingest into a source,
        admin, or to list the lambdas that it may run."""
        if what in ("admin", "list"):
            granted = self.admin if what == "admin" else bool(self.run)
        else:
            granted = bool({name, EVERYTHING} & {*getattr(self, what)})
        if not granted:
            wanted = "this" if what in ("admin", "list") else f"to {what} {name[:80]}"
            raise ForbiddenError(f"token {self.name} is not allowed {wanted}", remedy="ask for a token that is")

    def bind(
        self, name: str, parameters: Mapping[str, Any], query: Mapping[str, Any], body: dict[str, Any]
    ) -> dict[str, Any]:
        """``body`` with the fixed parameters, for lambda ``name`` with ``parameters``.

        ForbiddenError where the lambda lacks one of them, for then it would show what the token must not see, or the
        caller gives one.
        """
        for fixed in self.fixed:
            if fixed not in parameters:
                raise ForbiddenError(
                    f"token {self.name} has a fixed {fixed}, which lambda {name} has not",
                    remedy="ask for another token",
                )
            if fixed in query or fixed in body:
                raise ForbiddenError(f"token {self.name} fixes {fixed}", remedy=f"call without {fixed}")
        return {**body, **self.fixed} if self.fixed else body


@dataclasses.dataclass
class Bucket:
    """A token's rate: as many calls at once as it has a second, at least one; then as they come back."""

    rate: float
    left: float = 0
    since: float = 0

    def __post_init__(self) -> None:
        self.left, self.since = self.size, time.monotonic()

    @property
    def size(self) -> float:
        """The most calls at once."""
        return max(1.0, self.rate)

    def take(self) -> float:
        """0 where a call may go on, else the seconds until one may."""
        now = time.monotonic()
        self.left = min(self.size, self.left + (now - self.since) * self.rate)
        self.since = now
        if self.left >= 1:
            self.left -= 1
            return 0
        return (1 - self.left) / self.rate


@dataclasses.dataclass(frozen=True)
class Keyring:
    """The tokens by their hash, as of one moment. `required` says that there is, or was, any: then every call needs
    one."""

    grants: Mapping[str, Grant] = dataclasses.field(default_factory=dict)
    buckets: Mapping[str, Bucket] = dataclasses.field(default_factory=dict)
    required: bool = False

    @classmethod
    def of(cls, rows: Sequence[bytes], before: Keyring) -> Keyring:
        """Of the rows of `CURRENT`; ``before`` hands on how much of each rate is used."""
        grants, buckets = {}, {}
        for row in rows:
            found = msgspec.json.decode(row)
            if found["grants"]:
                hashed, grant = found["hash"], msgspec.json.decode(found["grants"], type=Grant)
                grants[hashed] = grant
                old = before.buckets.get(hashed)
                if grant.rate:
                    buckets[hashed] = old if old is not None and old.rate == grant.rate else Bucket(grant.rate)
        return cls(grants, buckets, required=bool(rows))

    def grant(self, secret: str) -> tuple[Grant, Bucket | None]:
        """What ``secret`` is for; UnauthorizedError where it is no token, or one that has expired."""
        hashed = hash_of(secret)
        found = self.grants.get(hashed)
        if found is None:
            raise UnauthorizedError("this token is not known, or was revoked", remedy="ask for a new one")
        if found.expires and dt.datetime.now(dt.UTC) >= dt.datetime.fromisoformat(found.expires):
            raise UnauthorizedError(f"token {found.name} expired at {found.expires}", remedy="ask for a new one")
        return found, self.buckets.get(hashed)


class Token(msgspec.Struct, frozen=True):
    """A token as it is shown: never with its secret."""

    id: str
    grant: Grant


@dataclasses.dataclass(frozen=True)
class Tokens:
    """The tokens of ``database``."""

    client: ClickHouse
    database: str

    def create(self, grant: Grant) -> str:
        """Adds a token; returns its secret, which is nowhere else."""
        if grant.rate < 0 or not grant.name:
            raise BadRequestError("a token has a name and no negative rate", remedy="see duet token create --help")
        ident = secrets.token_hex(_ID)
        secret = f"{_PREFIX}{ident}_{secrets.token_urlsafe(_SECRET)}"
        self._write(ident, hash_of(secret), msgspec.json.encode(grant).decode())
        return secret

    def all(self) -> list[Token]:
        """Those that were not revoked."""
        return [
            Token(row["id"], msgspec.json.decode(row["grants"], type=Grant)) for row in self._rows() if row["grants"]
        ]

    def revoke(self, which: str) -> Token:
        """Takes a token away; ``which`` is its id or name. NotFoundError where there is none, or there are several."""
        found = self._one(which)
        self._write(found.id, "", "")
        return found

    def rotate(self, which: str, hours: float) -> str:
        """A new secret for the same grants under the same name; the old one ends after ``hours``. Returns the new
        one."""
        old = self._one(which)
        secret = self.create(old.grant)
        end = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)).isoformat(timespec="seconds")
        ending = msgspec.structs.replace(old.grant, expires=min(end, old.grant.expires or end))
        hashed = next(row["hash"] for row in self._rows() if row["id"] == old.id)
        self._write(old.id, hashed, msgspec.json.encode(ending).decode())
        return secret

    def _one(self, which: str) -> Token:
        found = [token for token in self.all() if which in (token.id, token.grant.name)]
        if len(found) != 1:
            what = "there is no token" if not found else f"{len(found)} tokens are called"
            raise NotFoundError(f"{what} {which}", remedy="see duet token list, and give an id")
        return found[0]

    def clear(self) -> None:
        """Forgets all tokens, so that none is needed any more; only a server on loopback goes on then."""
        self.client.execute(f"TRUNCATE TABLE {self.database}_duet.tokens")

    def _rows(self) -> list[dict[str, str]]:
        found = self.client.bytes(CURRENT, {"database": f"{self.database}_duet"})
        return [msgspec.json.decode(line) for line in found.splitlines()]

    def _write(self, ident: str, hashed: str, grants: str) -> None:
        table = f"{self.database}_duet.tokens"
        row = [ident, hashed, grants, next_moment(self.client, table)]
        self.client.insert(table, ["id", "hash", "grants", "at"], [row])


def hash_of(secret: str) -> str:
    """SHA-256: a secret is 192 random bits, which nobody finds by trying."""
    return hashlib.sha256(secret.encode()).hexdigest()
