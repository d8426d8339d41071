"""Collects the code location; `dagster dev` in the project's folder shows it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from orchestration.defs.clickhouse.assets import deploy_assets
from orchestration.defs.dbt.assets import dbt_definitions
from orchestration.defs.jobs import job_definitions
from orchestration.defs.lake.assets import lake_assets
from orchestration.defs.parity.checks import parity_checks
from orchestration.defs.publish.assets import publish_assets
from orchestration.prepared import prepare
from realtime.settings import Settings


@dg.definitions
def defs() -> dg.Definitions:
    """The project in DUET_PROJECT_DIR, by default the current directory."""
    here = Settings.load(Path.cwd())
    return collect(Settings.load(Path(here.text("DUET_PROJECT_DIR") or Path.cwd())))


def collect(settings: Settings) -> dg.Definitions:
    """Everything that Dagster shows of a project, which is compiled first where it has changed."""
    prepared = prepare(settings)
    return dg.Definitions.merge(
        dbt_definitions(prepared),
        dg.Definitions(
            assets=[deploy_assets(prepared), *lake_assets(prepared), *publish_assets(prepared)],
            asset_checks=parity_checks(prepared),
            # Steps share one DuckDB file and load the project once; a process per step would do neither.
            executor=dg.in_process_executor,
        ),
        job_definitions(prepared),
    )
