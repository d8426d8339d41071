"""How dbt's nodes look in Dagster: keys, groups, columns, descriptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings

from orchestration.keys import (
    batch_key,
    group_of,
    lake_key,
    published_key,
    realtime_key,
    refreshed_key,
    source_key,
    source_name,
    state_key,
)
from orchestration.prepared import Prepared
from realtime.planner.ir import Column, Step

Node = Mapping[str, Any]


class BatchTranslator(DagsterDbtTranslator):
    """The authored project: ``batch/<model>``, over ``lake/…`` where Duet writes the lake, else ``source/…``."""

    def __init__(self, prepared: Prepared) -> None:
        super().__init__(DagsterDbtTranslatorSettings(enable_source_tests_as_checks=True, enable_source_metadata=False))
        self._in_lake = {s.name for s in prepared.plan.sources} if prepared.fed_by_lake else set()
        self._steps = {step.unique_id: step for step in prepared.plan.steps}

    def get_asset_key(self, dbt_resource_props: Node) -> dg.AssetKey:
        """See the class."""
        if dbt_resource_props["resource_type"] == "source":
            name = source_name(dbt_resource_props)
            return lake_key(name) if name in self._in_lake else source_key(name)
        return batch_key(dbt_resource_props["name"])

    def get_group_name(self, dbt_resource_props: Node) -> str:
        """As the author says (``meta.dagster.group``, dbt's ``group``), else the domain's folder."""
        return super().get_group_name(dbt_resource_props) or group_of(dbt_resource_props)

    def get_description(self, dbt_resource_props: Node) -> str:
        """The author's words and the SQL, where there is any."""
        return described(dbt_resource_props)

    def get_metadata(self, dbt_resource_props: Node) -> Mapping[str, Any]:
        """With every column and its type, where the plan knows them."""
        step = self._steps.get(dbt_resource_props["unique_id"])
        found = {**super().get_metadata(dbt_resource_props)}
        if step is not None:
            found["dagster/column_schema"] = column_schema(step.columns, batch=True)
        return found


class RealtimeTranslator(DagsterDbtTranslator):
    """The generated project: ``realtime/<model>``, over ``source/…`` (landing tables), ``state/…``,
    ``refreshed/…`` and ``published/…``."""

    def __init__(self, prepared: Prepared) -> None:
        super().__init__(DagsterDbtTranslatorSettings(enable_source_metadata=False))
        plan = prepared.plan
        self._sources = {("landing", _table(s.landing)): source_key(s.name) for s in plan.sources}
        self._sources |= {
            ("state", _table(state.relation)): state_key(state.name) for step in plan.steps for state in step.states
        }
        self._sources |= {
            ("state", _table(s.refresh.relation)): refreshed_key(s.model) for s in plan.steps if s.refresh is not None
        }
        self._sources |= {
            ("state", _table(s.published.relation)): published_key(s.model)
            for s in plan.steps
            if s.published is not None
        }
        self._steps = {step.model: step for step in plan.steps}
        self._authored = prepared.batch["nodes"]
        self._batch = BatchTranslator(prepared)

    def get_asset_key(self, dbt_resource_props: Node) -> dg.AssetKey:
        """See the class."""
        if dbt_resource_props["resource_type"] == "source":
            return self._sources[dbt_resource_props["source_name"], dbt_resource_props["name"]]
        return realtime_key(dbt_resource_props["name"])

    def get_group_name(self, dbt_resource_props: Node) -> str:
        """That of the authored model."""
        authored = self._authored_node(dbt_resource_props)
        return self._batch.get_group_name(authored) if authored else group_of(dbt_resource_props)

    def get_owners(self, dbt_resource_props: Node) -> Sequence[str] | None:
        """Those of the authored model."""
        authored = self._authored_node(dbt_resource_props)
        return self._batch.get_owners(authored) if authored else None

    def get_tags(self, dbt_resource_props: Node) -> Mapping[str, str]:
        """Those of the authored model, and its shape."""
        authored = self._authored_node(dbt_resource_props)
        step = self._step(dbt_resource_props)
        shape = {"duet/shape": str(step.shape)} if step else {}
        return {**(self._batch.get_tags(authored) if authored else {}), **shape}

    def get_description(self, dbt_resource_props: Node) -> str:
        """The author's words, how the model is kept, and the ClickHouse SQL."""
        step = self._step(dbt_resource_props)
        return described(dbt_resource_props, f"Kept as `{step.shape}`: {step.why}." if step else "")

    def _step(self, node: Node) -> Step | None:
        return self._steps.get(node["name"]) if node["resource_type"] == "model" else None

    def _authored_node(self, node: Node) -> Node | None:
        step = self._step(node)
        return self._authored.get(step.unique_id) if step else None


def described(node: Node, note: str = "") -> str:
    """A node's description, ``note`` and the SQL as authored, as Markdown; what is empty is left out."""
    sql = (node.get("raw_code") or "").strip()
    parts = [node.get("description"), note, f"#### SQL\n\n```sql\n{sql}\n```" if sql else ""]
    return "\n\n".join(part for part in parts if part)


def column_schema(columns: Sequence[Column], *, batch: bool, not_null: Sequence[str] = ()) -> dg.TableSchema:
    """Columns as Dagster shows them: DuckDB's types, or ClickHouse's."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=c.name,
                type=c.type if batch else c.clickhouse,
                description=c.description or None,
                constraints=dg.TableColumnConstraints(nullable=c.name not in not_null),
            )
            for c in columns
        ]
    )


def _table(relation: str) -> str:
    return relation.split(".", 1)[1]
