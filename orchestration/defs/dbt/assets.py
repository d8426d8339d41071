"""``batch/…``: dbt build of the authored project. ``realtime/…``: dbt build of the generated one on ClickHouse."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource, DbtProject, dbt_assets

from orchestration.defs.dbt.environment import environment
from orchestration.defs.dbt.translator import BatchTranslator, RealtimeTranslator
from orchestration.failure import explained
from orchestration.keys import source_name
from orchestration.prepared import REALTIME_TARGET, Prepared
from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import find_endpoint
from realtime.deploy.diff import changes
from realtime.deploy.live import read_live
from realtime.errors import ConfigError
from realtime.ingest.lake import create_lake_views
from realtime.project.profile import profiles_dir
from realtime.turn import BATCH, turn


def dbt_definitions(prepared: Prepared) -> dg.Definitions:
    """Both projects' models, and the sources that only batch reads."""
    settings = prepared.settings
    batch = DbtProject(settings.project_dir, profiles_dir=profiles_dir(settings.project_dir))
    realtime = DbtProject(settings.realtime_dir, target_path=REALTIME_TARGET, profiles_dir=settings.realtime_dir)
    return dg.Definitions(
        assets=[_batch_assets(prepared, batch), _realtime_assets(prepared, realtime), *_other_sources(prepared, batch)],
        resources={"dbt_batch": _command(batch), "dbt_realtime": _command(realtime)},
    )


def _batch_assets(prepared: Prepared, project: DbtProject) -> dg.AssetsDefinition:
    @dbt_assets(
        manifest=prepared.batch, project=project, name="dbt_batch", dagster_dbt_translator=BatchTranslator(prepared)
    )
    def build(context: dg.AssetExecutionContext, dbt_batch: DbtCliResource) -> Iterator[Any]:
        with explained(), turn(prepared.settings, BATCH):
            if prepared.fed_by_lake:
                create_lake_views(prepared.settings, prepared.plan)
            yield from dbt_batch.cli(["build"], context=context.op_execution_context).stream()

    return build


def _realtime_assets(prepared: Prepared, project: DbtProject) -> dg.AssetsDefinition:
    plan = prepared.plan

    @dbt_assets(
        manifest=prepared.realtime,
        project=project,
        name="dbt_realtime",
        dagster_dbt_translator=RealtimeTranslator(prepared),
    )
    def build(context: dg.AssetExecutionContext, dbt_realtime: DbtCliResource) -> Iterator[Any]:
        with explained():
            endpoint = find_endpoint(prepared.settings)
            _check_deployed(prepared, ClickHouse(endpoint))
            with environment(endpoint.environment(plan.database)):
                yield from dbt_realtime.cli(["build"], context=context.op_execution_context).stream()

    return build


def _check_deployed(prepared: Prepared, client: ClickHouse) -> None:
    """A read view over a state that is not there, or not filled yet, would answer wrongly."""
    plan = prepared.plan
    missing = changes(plan, read_live(client, plan.database))
    if missing:
        raise ConfigError(
            f"{plan.project} is not deployed as it is compiled: {missing[0]}",
            remedy="materialize the assets in `source` and `state` first, or run `duet deploy`",
        )


def _other_sources(prepared: Prepared, project: DbtProject) -> list[dg.AssetSpec]:
    """Sources that no real-time model reads: nothing here makes them."""
    translator = BatchTranslator(prepared)
    planned = {s.name for s in prepared.plan.sources}
    others = [u for u, node in prepared.batch["sources"].items() if source_name(node) not in planned]
    return [translator.get_asset_spec(prepared.batch, unique_id, project) for unique_id in sorted(others)]


def _command(project: DbtProject) -> DbtCliResource:
    """dbt of the same environment as Dagster, whether or not that is activated."""
    return DbtCliResource(project_dir=project, dbt_executable=str(Path(sys.executable).with_name("dbt")))
