"""JWTs of another service: taken where its key signed them, and for what they say."""

from __future__ import annotations

import base64
import datetime as dt
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import ConfigError
from realtime.serving.signed import Signed
from realtime.serving.tokens import UnauthorizedError
from realtime.settings import Settings
from tests.server.running import running
from tests.serving.plans import deploy, param, plan, spec

MINE = spec("mine", "SELECT {visitor:String} AS v", [param("visitor", "VARCHAR")], [("v", "VARCHAR")])
Key = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def keys(folder: Path, kind: str) -> tuple[bytes, Path]:
    """A private key in PEM, and the file of its public one."""
    made: Key = (
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
        if kind == "RS256"
        else ed25519.Ed25519PrivateKey.generate()
    )
    public = folder / f"{kind}.pem"
    public.write_bytes(made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), public


def token(private: bytes, kind: str, seconds: float = 60, **claims: Any) -> str:
    end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    given = {"exp": end, "sub": "visitor 17", "iss": "us", "aud": "duet", "duet": {"run": ["mine"]}, **claims}
    return jwt.encode({k: v for k, v in given.items() if v is not None}, private, algorithm=kind)


def signed(folder: Path, public: Path) -> Signed:
    given = {"DUET_JWT_KEY": str(public), "DUET_JWT_ISSUER": "us", "DUET_JWT_AUDIENCE": "duet"}
    return Signed(Settings.load(folder, given))


@pytest.mark.parametrize("kind", ["RS256", "EdDSA"])
def test_only_what_its_key_signed(tmp_path: Path, kind: str) -> None:
    private, public = keys(tmp_path, kind)
    (tmp_path / "other").mkdir()
    other, _ = keys(tmp_path / "other", kind)
    checks = signed(tmp_path, public)
    grant, bucket = checks.grant(token(private, kind, duet={"run": ["mine"], "rate": 5, "fixed": {"visitor": "17"}}))
    assert (grant.name, grant.run, grant.fixed) == ("visitor 17", ("mine",), {"visitor": "17"})
    assert bucket is not None
    head, body, _ = token(private, kind).split(".")
    nothing = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).rstrip(b"=").decode()
    by_hmac = jwt.encode({"exp": 4e9, "aud": "duet", "iss": "us"}, "x" * 32, algorithm="HS256")
    for wrong in (
        token(other, kind),
        token(private, kind, seconds=-1),
        token(private, kind, exp=None),
        token(private, kind, iss="them"),
        token(private, kind, aud="another"),
        token(private, kind, duet={"run": "mine"}),
        token(private, kind, duet=["run"]),
        f"{head}.{body}.",
        f"{nothing}.{body}.",
        by_hmac,
        "a.b.c",
    ):
        with pytest.raises(UnauthorizedError):
            checks.grant(wrong)


def test_an_end_is_kept_to_although_it_was_seen_before(tmp_path: Path) -> None:
    private, public = keys(tmp_path, "EdDSA")
    checks, brief = signed(tmp_path, public), token(private, "EdDSA", seconds=2)
    assert checks.grant(brief) == checks.grant(brief)
    until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2.5)
    while dt.datetime.now(dt.UTC) < until:
        pass
    with pytest.raises(UnauthorizedError, match="expired"):
        checks.grant(brief)


def test_a_key_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        signed(tmp_path, tmp_path / "missing.pem")
    private, _ = keys(tmp_path, "EdDSA")
    (tmp_path / "private.pem").write_bytes(private)
    with pytest.raises(ConfigError, match="holds no public key"):
        signed(tmp_path, tmp_path / "private.pem")


def test_a_server_that_takes_them(endpoint: Endpoint, clickhouse: ClickHouse, database: str, tmp_path: Path) -> None:
    deploy(clickhouse, plan(database, [MINE]))
    private, public = keys(tmp_path, "EdDSA")
    mine = token(private, "EdDSA", aud=None, duet={"run": ["mine"], "fixed": {"visitor": "17"}})
    with running(endpoint, database, tmp_path, DUET_JWT_KEY=str(public)) as server:
        assert server.ask("/v1/lambdas/mine", visitor="17").status == 401
        headers = {"Authorization": f"Bearer {mine}"}
        assert server.ask("/v1/lambdas/mine", headers=headers).json["data"] == [{"v": "17"}]
        assert server.ask("/v1/lambdas/mine", headers=headers, visitor="18").status == 403
        assert server.ask("/v1/lambdas", headers=headers).status == 403
