"""Settings: one table, read from the environment here and nowhere else.

`SETTINGS` is the table; ``docs/settings.md`` lists it and a test fails when it does not.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from realtime.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Setting:
    """One environment variable, with its default and what it does."""

    name: str
    default: str
    help: str


SETTINGS: tuple[Setting, ...] = (
    Setting("DUET_PROJECT_DIR", "", "the dbt project that Dagster shows; default: the folder it is started in"),
    Setting(
        "CLICKHOUSE_URL",
        "",
        "ClickHouse to use instead of the local one: http[s]://user:password@host:port/database[?cluster=name]",
    ),
    Setting("CLICKHOUSE_READ_USER", "", "user that lambdas are asked as, which can only read; default: the address's"),
    Setting("CLICKHOUSE_READ_PASSWORD", "", "its password"),
    Setting("DUET_CLICKHOUSE_PORT", "18123", "HTTP port of the local ClickHouse; 0 lets the system pick one"),
    Setting("DUET_CLICKHOUSE_MEMORY", "4000000000", "memory that the local ClickHouse may use, in bytes"),
    Setting("DUET_CLICKHOUSE_LIBRARY", "", "path of libchdb.so, where it is not found by itself"),
    Setting("DUET_SERVER_PORT", "8787", "port of the HTTP server; 0 lets the system pick one"),
    Setting("DUET_SERVER_HOST", "127.0.0.1", "address that the HTTP server listens on"),
    Setting("DUET_TOKEN", "", "token with which commands such as duet ingest and duet lambda run call the server"),
    Setting("DUET_CORS_ORIGINS", "", "origins of web pages that may call the server, separated by commas"),
    Setting("DUET_JWT_KEY", "", "PEM file of the public key (RS256, EdDSA) of JWTs that the server takes as tokens"),
    Setting("DUET_JWT_ISSUER", "", "issuer that those JWTs must name"),
    Setting("DUET_JWT_AUDIENCE", "", "audience that those JWTs must name"),
    Setting("DUET_LAKE", "", "folder of the lake's Parquet files; default: lake/ in the project"),
    Setting("DUET_BACKFILL_THREADS", "2", "chunks of a million rows that a deploy backfills at a time"),
    Setting("DUET_KEEP_DAYS", "7", "days that a model's version before is kept for `duet rollback`; 0: not at all"),
    Setting(
        "DUET_SAMPLE_CALLS", "5", "calls per lambda and ten seconds whose parameters are kept, for duet lambda diff"
    ),
    Setting("DUET_CACHE_MB", "64", "answers of lambdas with a cache that the server keeps, in MiB"),
    Setting("DUET_INGEST_GAP_MS", "20", "least ms between two inserts into a landing table; not for large requests"),
    Setting("DUET_INGEST_QUEUE_MB", "256", "rows that the server holds until they are stored, in MiB; beyond it, 429"),
    Setting("DUET_MAX_BODY_MB", "64", "largest request body taken, in MiB after decompression"),
    Setting("OTEL_EXPORTER_OTLP_ENDPOINT", "", "collector that OpenTelemetry traces are sent to, by OTLP over HTTP"),
    Setting("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "", "the same, as the whole address; goes before the other"),
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of one process; ``project_dir`` is absolute."""

    project_dir: Path
    values: Mapping[str, str]

    @classmethod
    def load(cls, project_dir: Path, environ: Mapping[str, str] | None = None) -> Settings:
        """Reads every setting of the table from ``environ`` (default: this process's)."""
        env = os.environ if environ is None else environ
        values = {name: value for name, value in env.items() if name.startswith("OTEL_")}  # its library reads others
        values |= {s.name: env.get(s.name) or s.default for s in SETTINGS}
        return cls(project_dir=project_dir.resolve(), values=values)

    def text(self, name: str) -> str:
        """The setting as text; empty where it is not set."""
        return self.values[name]

    def number(self, name: str) -> int:
        """The setting as a whole number; ConfigError where it is none."""
        try:
            return int(self.values[name])
        except ValueError:
            raise ConfigError(
                f"{name} is {self.values[name]!r}, which is not a whole number", remedy=f"set {name} to a number"
            ) from None

    @property
    def state_dir(self) -> Path:
        """What local servers keep: data, logs, process records. Ignores itself in git."""
        return self.project_dir / ".duet"

    @property
    def realtime_dir(self) -> Path:
        """Where `duet compile` writes."""
        return self.project_dir / "target" / "realtime"

    @property
    def lake_dir(self) -> Path:
        """Where `duet export` writes."""
        given = self.text("DUET_LAKE")
        return Path(given).resolve() if given else self.project_dir / "lake"


def secret(name: str, of: str) -> str:
    """The environment variable ``name``, in which a project says the password ``of`` something is; ConfigError where
    it is not set."""
    found = os.environ.get(name, "")
    if not found:
        raise ConfigError(f"the password of {of} is missing: {name} is not set", remedy=f"set {name} and deploy again")
    return found
