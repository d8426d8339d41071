"""``lake/…``: landing rows as Parquet files, which the batch engine reads."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from orchestration.defs.dbt.translator import column_schema
from orchestration.failure import explained
from orchestration.keys import group_of, lake_key, source_key
from orchestration.prepared import Prepared
from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import find_endpoint
from realtime.ingest.export import export
from realtime.planner.ir import SourceSpec
from realtime.turn import EXPORT, turn


def lake_assets(prepared: Prepared) -> list[dg.AssetsDefinition]:
    """One step that exports every source's new rows; none where the batch warehouse is fed otherwise."""
    sources = prepared.plan.sources
    if not prepared.fed_by_lake or not sources:
        return []

    @dg.multi_asset(name="export", specs=[_spec(source, prepared) for source in sources])
    def export_rows(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        with explained(), turn(prepared.settings, EXPORT):
            client = ClickHouse(find_endpoint(prepared.settings))
            for done in export(prepared.settings, prepared.plan, client):
                context.log.info(str(done))
                yield dg.MaterializeResult(
                    asset_key=lake_key(done.source),
                    metadata={"rows": done.rows, "files": done.files, "watermark": done.watermark.isoformat()},
                )

    return [export_rows]


def _spec(source: SourceSpec, prepared: Prepared) -> dg.AssetSpec:
    return dg.AssetSpec(
        lake_key(source.name),
        deps=[source_key(source.name)],
        description=f"Rows of `{source.landing}` as Parquet files, each row once. Batch reads them as"
        f" `{source.batch}`.",
        group_name=group_of(prepared.source_nodes[source.name]),
        kinds={"parquet", "duckdb"},
        metadata={"dagster/column_schema": column_schema(source.columns, batch=True, not_null=source.not_null)},
    )
