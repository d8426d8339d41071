"""Which of dbt's adapters Duet reads; known without the dialects themselves, which take long to import."""

from __future__ import annotations

from realtime.errors import ConfigError

ADAPTERS = ("bigquery", "duckdb", "postgres", "snowflake", "spark")


def check_adapter(adapter: str) -> None:
    """ConfigError unless Duet reads what is written for dbt's ``adapter``."""
    if adapter not in ADAPTERS:
        raise ConfigError(
            f"the project is written for {adapter}, which Duet does not read",
            remedy=f"use a profile whose default target is one of {', '.join(ADAPTERS)}",
        )
