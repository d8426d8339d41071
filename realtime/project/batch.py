"""The batch run: the lake's views, then dbt on the profile's default target."""

from __future__ import annotations

from collections.abc import Sequence

from realtime.ingest.lake import create_lake_views
from realtime.planner.ir import Plan
from realtime.project.dbt import run_dbt
from realtime.project.profile import profiles_dir
from realtime.settings import Settings


def run_batch(settings: Settings, plan: Plan, arguments: Sequence[str] = ("build",)) -> None:
    """Shows the lake as it is now to the batch database, then runs ``dbt <arguments>``, whose output is passed on.

    Errors as `create_lake_views`; CommandError where dbt fails.
    """
    create_lake_views(settings, plan)
    run_dbt(arguments, settings.project_dir, profiles_dir(settings.project_dir), quiet=False)
