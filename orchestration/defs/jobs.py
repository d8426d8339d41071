"""What runs together, and when."""

from __future__ import annotations

import dagster as dg

from orchestration.defs.parity.checks import CHECK
from orchestration.keys import realtime_key
from orchestration.prepared import Prepared

# Both stay off until someone turns them on in the UI.
HOURLY = "0 * * * *"


def job_definitions(prepared: Prepared) -> dg.Definitions:
    """``everything`` (deploy, export, both builds, all checks), and hourly ``batch`` (export, batch build, publish,
    parity)."""
    everything = dg.define_asset_job("everything", selection=dg.AssetSelection.all())
    compared = [dg.AssetCheckKey(realtime_key(step.model), CHECK) for step in prepared.plan.steps]
    batch = dg.define_asset_job(
        "batch",
        selection=dg.AssetSelection.key_prefixes("lake", "batch", "published") | dg.AssetSelection.checks(*compared),
        description="Exports what has landed, builds the batch models over it, publishes and compares both engines.",
    )
    schedule = dg.ScheduleDefinition(name="batch_hourly", job=batch, cron_schedule=HOURLY)
    return dg.Definitions(jobs=[everything, batch], schedules=[schedule])
