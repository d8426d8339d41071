"""JWTs: tokens that another service signs, checked against its public key and without asking anyone.

Their claim ``duet`` holds what a `Grant` does, as in ``{"run": ["recent"], "fixed": {"visitor_id": "17"}}``; ``sub``
names the caller, and ``exp`` is required.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import jwt
import msgspec

from realtime.errors import ConfigError
from realtime.serving.tokens import Bucket, Grant, UnauthorizedError
from realtime.settings import Settings

_ALGORITHMS = ("RS256", "EdDSA")
_KNOWN = 10_000


class Signed:
    """Checks JWTs against the public key of ``settings``; without one, none is valid.

    ConfigError where the key can't be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._audience = settings.text("DUET_JWT_AUDIENCE") or None
        self._issuer = settings.text("DUET_JWT_ISSUER") or None
        self._key = _public_key(settings.text("DUET_JWT_KEY"))
        self._known: dict[str, tuple[Grant, Bucket | None, float]] = {}
        self._buckets: dict[str, Bucket] = {}

    @property
    def configured(self) -> bool:
        """Whether there is a key."""
        return self._key is not None

    def grant(self, token: str) -> tuple[Grant, Bucket | None]:
        """What ``token`` is for; UnauthorizedError with the reason where it is not valid."""
        known = self._known.get(token)
        if known is not None and known[2] > dt.datetime.now(dt.UTC).timestamp():
            return known[0], known[1]
        claims = self._claims(token)
        try:
            found = msgspec.convert({**claims.get("duet", {}), "name": str(claims.get("sub", "jwt"))}, Grant)
        except (msgspec.ValidationError, TypeError) as error:
            raise UnauthorizedError(f"the JWT's claim duet is not what it should be: {error}") from None
        bucket = None
        if found.rate > 0:
            bucket = self._buckets.get(found.name)
            if bucket is None or bucket.rate != found.rate:
                bucket = self._buckets[found.name] = Bucket(found.rate)
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[token] = found, bucket, float(claims["exp"])
        return found, bucket

    def _claims(self, token: str) -> dict[str, Any]:
        if self._key is None:
            raise UnauthorizedError("JWTs are not taken here", remedy="send a token of duet token create")
        try:
            found: dict[str, Any] = jwt.decode(
                token, self._key, algorithms=_ALGORITHMS, audience=self._audience, issuer=self._issuer,
                options={"require": ["exp"]},
            )  # fmt: skip
        except jwt.PyJWTError as error:
            raise UnauthorizedError(f"the JWT is not valid: {error}", remedy="ask for a new one") from None
        return found


def _public_key(path: str) -> bytes | None:
    if not path:
        return None
    try:
        key = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"DUET_JWT_KEY: {path} can't be read: {error.strerror}", remedy="name a PEM file of a public key"
        ) from None
    if b"PUBLIC KEY" not in key:
        raise ConfigError(f"DUET_JWT_KEY: {path} holds no public key in PEM", remedy="name a file that does")
    return key


def looks_signed(token: str) -> bool:
    """Whether ``token`` has a JWT's form; those of `duet token create` have not."""
    return token.count(".") == 2
