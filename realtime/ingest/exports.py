"""Whether exports go on. Where they have stopped, batch stays as it is, and rows whose ``ttl`` is over stay too."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.moment import EPOCH, from_micros, micros, server_now
from realtime.deploy.ledger import Ledger
from realtime.emit.landing import INGESTED_AT
from realtime.ingest.expired import expired
from realtime.ingest.lake_files import lake_files, watermark
from realtime.planner.ir import Plan, SourceSpec
from realtime.settings import Settings

_LONG = timedelta(days=1)
"""Where rows have waited for an export this long, none comes."""


class Waiting(msgspec.Struct, frozen=True):
    """A source of which no export has come for a day: ``rows`` wait since ``since``, when the oldest of them came (they
    are not counted where another lake than this project's takes them). ``kept`` rows stay, though their ``ttl`` has
    been over for a day, for only exports delete them; then that is a ``problem``."""

    source: str
    rows: int = 0
    since: datetime | None = None
    kept: int = 0
    problem: str = ""

    def __str__(self) -> str:
        since = f"{self.rows:,} rows since {self.since:%Y-%m-%d %H:%M:%S}Z wait for an export" if self.since else ""
        return f"{self.source}: " + "; ".join(filter(None, (since, self.problem))) + ": run duet export, regularly"


def waiting(settings: Settings, client: ClickHouse, plan: Plan) -> tuple[Waiting, ...]:
    """The sources of ``plan``, which is deployed, whose exports have stopped; none where nothing was ever exported."""
    owners = Ledger(client, plan.database).lakes()
    before = server_now(client) - _LONG
    in_use = any(lake_files(settings, source.name) for source in plan.sources)
    found = (_waiting(settings, client, source, before, in_use, source.name in owners) for source in plan.sources)
    return tuple(each for each in found if each.since is not None or each.kept)


def _waiting(
    settings: Settings, client: ClickHouse, source: SourceSpec, before: datetime, in_use: bool, held: bool
) -> Waiting:
    rows, since = 0, None
    if in_use:
        (found,) = client.rows(
            f"SELECT count() AS rows, toUnixTimestamp64Micro(min({INGESTED_AT})) AS first FROM {source.whole} "
            f"WHERE {INGESTED_AT} >= fromUnixTimestamp64Micro({{since:Int64}}, 'UTC')",
            {"since": micros(watermark(lake_files(settings, source.name)))},
        )
        first = from_micros(int(found["first"]))
        if int(found["rows"]) and EPOCH < first < before:
            rows, since = int(found["rows"]), first
    over = expired(source, before) if held and source.ttl else ""
    kept = int(client.value(f"SELECT count() FROM {source.whole} WHERE {over}")) if over else 0
    problem = f"the ttl of {kept:,} rows has been over for a day, and only exports delete them" if kept else ""
    return Waiting(source.name, rows, since, kept, problem)
