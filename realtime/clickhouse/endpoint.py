"""Which ClickHouse is used: ``CLICKHOUSE_URL``, the profile's ClickHouse target, or the local server."""

from __future__ import annotations

import re
import urllib.parse

import msgspec

from realtime.errors import ConfigError, UnavailableError
from realtime.project.profile import clickhouse_target, project_name
from realtime.settings import Settings

PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_URL = "write it as http://user:password@host:8123/database, with ?cluster=name behind it for a cluster"


class Endpoint(msgspec.Struct, frozen=True):
    """A ClickHouse server's HTTP interface. ``database`` is empty where the project's name should be used, ``cluster``
    where the server stands alone, and ``data``, the folder of its rows, where it is not the local one."""

    host: str
    port: int
    secure: bool = False
    user: str = "default"
    password: str = ""
    database: str = ""
    cluster: str = ""
    data: str = ""

    def everywhere(self, table: str) -> str:
        """What a system table is read by, so that it tells of every server: of all of the cluster, else of this one."""
        return f"clusterAllReplicas('{self.cluster}', {table})" if self.cluster else table

    def of_shards(self, table: str) -> str:
        """The same, but of one server per shard: what counts rows, counts each once."""
        return f"cluster('{self.cluster}', {table})" if self.cluster else table

    @property
    def url(self) -> str:
        """Its address, without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}"

    def environment(self, database: str) -> dict[str, str]:
        """What the generated project's ``profiles.yml`` reads."""
        return {
            "DUET_CLICKHOUSE_HOST": self.host,
            "DUET_CLICKHOUSE_PORT": str(self.port),
            "DUET_CLICKHOUSE_SECURE": str(self.secure),
            "DUET_CLICKHOUSE_USER": self.user,
            "DUET_CLICKHOUSE_PASSWORD": self.password,
            "DUET_CLICKHOUSE_DATABASE": database,
        }


def remote_endpoint(settings: Settings) -> Endpoint | None:
    """The server that the environment or the profile points to; None where the local one is meant."""
    url = settings.text("CLICKHOUSE_URL")
    if url:
        return _from_url(url)
    target = clickhouse_target(settings.project_dir)
    if target is None:
        return None
    return Endpoint(
        host=str(target.get("host", "localhost")),
        port=_port(target.get("port") or (8443 if target.get("secure") else 8123), "the profile's ClickHouse target"),
        secure=bool(target.get("secure", False)),
        user=str(target.get("user") or "default"),
        password=str(target.get("password") or ""),
        database=str(target.get("schema") or ""),
        cluster=_cluster(str(target.get("cluster") or "")),
    )


def find_endpoint(settings: Settings) -> Endpoint:
    """The server to use; UnavailableError where that is the local one and it is not up."""
    from realtime.clickhouse.local import local_endpoint

    found = remote_endpoint(settings) or local_endpoint(settings)
    if found is None:
        raise UnavailableError("ClickHouse is not running", remedy="start it: duet up")
    return found


def database_name(settings: Settings) -> str:
    """The ClickHouse database of the read views: as the address or profile says, or the project's name."""
    remote = remote_endpoint(settings)
    name = remote.database if remote is not None and remote.database else project_name(settings.project_dir)
    if not PLAIN_NAME.fullmatch(name):
        raise ConfigError(
            f"database {name!r} can't be used: Duet makes others beside it, named after it",
            remedy="use letters, digits and underscores: in CLICKHOUSE_URL, the profile's schema or the project's name",
        )
    return name


def cluster_name(settings: Settings) -> str:
    """The cluster that the address or profile names; empty where the server stands alone."""
    remote = remote_endpoint(settings)
    return remote.cluster if remote is not None else ""


def _cluster(given: str) -> str:
    if given and not re.fullmatch(r"[A-Za-z0-9_.-]+", given):
        raise ConfigError(
            f"cluster {given!r} can't be used",
            remedy="name one of the server's: SELECT DISTINCT cluster FROM system.clusters",
        )
    return given


def _port(given: object, where: str) -> int:
    try:
        port = int(str(given))
    except ValueError:
        port = -1
    if not 0 < port < 65536:
        raise ConfigError(f"{where} has port {given!r}, which is none", remedy="give a number from 1 to 65535")
    return port


def _from_url(url: str) -> Endpoint:
    try:
        parsed = urllib.parse.urlsplit(url)
        port = parsed.port
    except ValueError as error:
        raise ConfigError(f"CLICKHOUSE_URL can't be read: {error}", remedy=_URL) from None
    if parsed.scheme not in ("http", "https") or not parsed.hostname:
        # Not the whole address: it may hold a password.
        raise ConfigError(f"CLICKHOUSE_URL is no HTTP address: it begins {parsed.scheme or url[:8]!r}", remedy=_URL)
    secure = parsed.scheme == "https"
    return Endpoint(
        host=parsed.hostname,
        port=port or (8443 if secure else 8123),
        secure=secure,
        user=urllib.parse.unquote(parsed.username or "default"),
        password=urllib.parse.unquote(parsed.password or ""),
        database=parsed.path.strip("/"),
        cluster=_cluster(urllib.parse.parse_qs(parsed.query).get("cluster", [""])[0]),
    )
