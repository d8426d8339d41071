"""``source/…`` (landing tables), ``state/…`` and ``refreshed/…``: what a deploy makes."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from orchestration.defs.dbt.translator import RealtimeTranslator, column_schema
from orchestration.failure import explained
from orchestration.keys import group_of, published_key, refreshed_key, source_key, state_key
from orchestration.prepared import Prepared
from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import find_endpoint
from realtime.deploy.apply import deploy
from realtime.emit.names import quoted
from realtime.planner.ir import Refresh, SourceSpec, State


def deploy_assets(prepared: Prepared) -> dg.AssetsDefinition:
    """One step that deploys the plan: a deploy is whole or not at all, so its assets come together."""
    sources = [_source_spec(source, prepared) for source in prepared.plan.sources]
    states = [_state_spec(state, group, prepared) for state, group in _states(prepared)]

    refreshed = [_refreshed_spec(refresh, group, prepared) for refresh, group in _refreshes(prepared)]

    @dg.multi_asset(name="deploy", specs=[*sources, *states, *refreshed])
    def deploy_plan(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        with explained():
            client = ClickHouse(find_endpoint(prepared.settings))
            deploy(prepared.settings, prepared.plan, client, context.log.info)
            for source in prepared.plan.sources:
                yield dg.MaterializeResult(asset_key=source_key(source.name), metadata=_landed(client, source))
            for state, _ in _states(prepared):
                rows = client.value(f"SELECT count() FROM {state.relation}")
                yield dg.MaterializeResult(asset_key=state_key(state.name), metadata={"dagster/row_count": rows})
            for refresh, _ in _refreshes(prepared):
                rows = client.value(f"SELECT count() FROM {refresh.relation}")
                yield dg.MaterializeResult(asset_key=refreshed_key(refresh.name), metadata={"dagster/row_count": rows})

    return deploy_plan


def _states(prepared: Prepared) -> list[tuple[State, str]]:
    """Every state once, with its model's group."""
    groups = RealtimeTranslator(prepared)
    found = {state.name: (state, _group(groups, step.model)) for step in prepared.plan.steps for state in step.states}
    return list(found.values())


def _refreshes(prepared: Prepared) -> list[tuple[Refresh, str]]:
    """Every refreshed table, with its model's group."""
    groups = RealtimeTranslator(prepared)
    return [(s.refresh, _group(groups, s.model)) for s in prepared.plan.steps if s.refresh is not None]


def _group(groups: RealtimeTranslator, model: str) -> str:
    return groups.get_group_name({"resource_type": "model", "name": model, "fqn": [model]})


def _source_spec(source: SourceSpec, prepared: Prepared) -> dg.AssetSpec:
    rule = f"the newest row per {', '.join(source.key)} counts" if source.mode == "upsert" else "every row counts"
    return dg.AssetSpec(
        source_key(source.name),
        description=f"{source.description}\n\nEvents land in `{source.landing}`; {rule}.".strip(),
        group_name=group_of(prepared.source_nodes[source.name]),
        kinds={"clickhouse", "source"},
        metadata={
            "dagster/table_name": source.landing,
            "dagster/column_schema": column_schema(source.columns, batch=False, not_null=source.not_null),
        },
    )


def _state_spec(state: State, group: str, prepared: Prepared) -> dg.AssetSpec:
    by_landing = {source.landing: source_key(source.name) for source in prepared.plan.sources}
    sql = "\n\n".join(f"```sql\n{view.select}\n```" for view in state.views)
    return dg.AssetSpec(
        state_key(state.name),
        deps=sorted({by_landing[view.landing] for view in state.views}),
        description=f"{state.engine} by {', '.join(state.order_by)}, filled on every insert.\n\n{sql}",
        group_name=group,
        code_version=state.fingerprint,
        kinds={"clickhouse", "state"},
        metadata={"dagster/table_name": state.relation},
    )


def _refreshed_spec(refresh: Refresh, group: str, prepared: Prepared) -> dg.AssetSpec:
    below = {source.landing: source_key(source.name) for source in prepared.plan.sources}
    below |= {state.relation: state_key(state.name) for state, _ in _states(prepared)}
    below |= {s.published.relation: published_key(s.model) for s in prepared.plan.steps if s.published is not None}
    below |= {other.relation: refreshed_key(other.name) for other, _ in _refreshes(prepared)}
    return dg.AssetSpec(
        refreshed_key(refresh.name),
        deps=[key for relation, key in below.items() if quoted(relation.split(".")[1]) in refresh.select],
        description=f"All rows are replaced every {refresh.every.lower()}.\n\n```sql\n{refresh.select}\n```",
        group_name=group,
        code_version=refresh.fingerprint,
        kinds={"clickhouse", "table"},
        metadata={"dagster/table_name": refresh.relation},
    )


def _landed(client: ClickHouse, source: SourceSpec) -> dict[str, Any]:
    row = client.rows(f"SELECT count() AS rows, toString(max(_ingested_at)) AS newest FROM {source.landing}")[0]
    newest = {"newest_row_ingested_at": row["newest"]} if row["rows"] else {}
    return {"dagster/row_count": row["rows"], **newest}
