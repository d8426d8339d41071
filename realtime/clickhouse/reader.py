"""The database user that lambdas are asked as: one that can only read what they read.

The local server has it; elsewhere ``CLICKHOUSE_READ_USER`` names one that an operator made (docs/lambdas.md).
"""

from __future__ import annotations

import msgspec

from realtime.clickhouse import local
from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint, database_name, find_endpoint, remote_endpoint
from realtime.clickhouse.grants import grants
from realtime.errors import CommandError, ConfigError, UnavailableError
from realtime.settings import Settings

USER = "duet_reader"


def find_reader(settings: Settings) -> Endpoint:
    """Where and as whom lambdas are asked: the endpoint's own user where there is none for it.

    UnavailableError where the local server is meant and is not up.
    """
    endpoint, user = find_endpoint(settings), settings.text("CLICKHOUSE_READ_USER")
    if user:
        return msgspec.structs.replace(endpoint, user=user, password=settings.text("CLICKHOUSE_READ_PASSWORD"))
    running = local.daemon(settings).running() if remote_endpoint(settings) is None else None
    # One that an older version started has no such user, or one for the project's name before.
    if running is not None and running.details.get("reads") == database_name(settings):
        return msgspec.structs.replace(endpoint, user=USER, password="")
    return endpoint


def check_reader(settings: Settings) -> None:
    """ConfigError where ``CLICKHOUSE_READ_USER`` can't sign in, may do more than read, or less than it must. A server
    that does not answer at all is not asked: it is waited for."""
    user = settings.text("CLICKHOUSE_READ_USER")
    if not user:
        return
    database = database_name(settings)
    try:
        with ClickHouse(find_reader(settings)) as client:
            has = {what: client.bytes(f"CHECK GRANT {what}").strip() == b"1" for what in _wanted(database)}
    except (CommandError, UnavailableError) as error:
        if "Code: " not in error.message:
            return
        raise ConfigError(
            f"CLICKHOUSE_READ_USER {user} can't be used: {error.message}",
            remedy="check it and CLICKHOUSE_READ_PASSWORD, and see docs/lambdas.md",
        ) from None
    said = ", ".join(
        f"{'lacks' if right else 'must not have'} {what}"
        for what, right in _wanted(database).items()
        if has[what] != right
    )
    if said:
        raise ConfigError(f"CLICKHOUSE_READ_USER {user} {said}", remedy=f"give it this and no more: {grants(database)}")


def _wanted(database: str) -> dict[str, bool]:
    """Grants, and whether the user should have them."""
    has = dict.fromkeys((f"SELECT ON {database}{part}.*" for part in ("", "_raw", "_state")), True)
    lacks = (f"SELECT ON {database}_duet.tokens", f"INSERT ON {database}_raw.*", f"ALTER ON {database}_state.*")
    return has | dict.fromkeys(lacks, False)
