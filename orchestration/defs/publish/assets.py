"""``published/…``: models that batch computes, copied into ClickHouse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg

from orchestration.defs.dbt.translator import RealtimeTranslator, column_schema
from orchestration.failure import explained
from orchestration.keys import batch_key, published_key
from orchestration.prepared import Prepared
from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import find_endpoint
from realtime.planner.ir import Step
from realtime.publish.publish import chosen, publish
from realtime.turn import BATCH, turn


def publish_assets(prepared: Prepared) -> list[dg.AssetsDefinition]:
    """One step that copies what is asked for of the published models; none where there are none."""
    steps = chosen(prepared.plan, ())
    if not steps:
        return []

    @dg.multi_asset(name="publish", specs=[_spec(step, prepared) for step in steps], can_subset=True)
    def copy(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        asked = [s.model for s in steps if published_key(s.model) in context.selected_asset_keys]
        with explained(), turn(prepared.settings, BATCH):
            for done in publish(prepared.settings, ClickHouse(find_endpoint(prepared.settings)), asked):
                context.log.info(str(done))
                yield dg.MaterializeResult(
                    asset_key=published_key(done.model),
                    metadata={"dagster/row_count": done.rows, "as_of": done.as_of.isoformat()},
                )

    return [copy]


def _spec(step: Step, prepared: Prepared) -> dg.AssetSpec:
    node = {"resource_type": "model", "name": step.model, "fqn": [step.model]}
    published = step.published
    assert published is not None
    return dg.AssetSpec(
        published_key(step.model),
        deps=[batch_key(step.model)],
        description=f"Rows of `{step.batch}`, copied as a whole: readers see those from before or those from after.",
        group_name=RealtimeTranslator(prepared).get_group_name(node),
        code_version=published.fingerprint,
        kinds={"clickhouse", "table"},
        metadata={
            "dagster/table_name": published.relation,
            "dagster/column_schema": column_schema(step.columns, batch=False),
        },
    )
