"""How old each side's rows are: the first thing to look at where batch and real time differ."""

from __future__ import annotations

import functools

import duckdb

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.moment import EPOCH
from realtime.errors import DuetError
from realtime.ingest.export import lake_differs, landed_rows
from realtime.ingest.lake import batch_watermark
from realtime.ingest.lake_files import lake_files, watermark
from realtime.planner.ir import Plan, SourceSpec, Step
from realtime.settings import Settings


class Age:
    """Compares the newest rows of landing tables, lake and batch database; asks for each source once."""

    def __init__(
        self, settings: Settings, plan: Plan, client: ClickHouse, connection: duckdb.DuckDBPyConnection
    ) -> None:
        self.settings, self.client, self.connection = settings, client, connection
        self.sources = {spec.name: spec for spec in plan.sources}
        self.steps = {step.unique_id: step for step in plan.steps} | {step.model: step for step in plan.steps}
        self._of_source = functools.cache(self._source_reason)
        self.watermarks = {
            name: moment
            for name, spec in self.sources.items()
            if (moment := batch_watermark(connection, spec)) is not None
        }

    def reason(self, step: Step) -> str:
        """Why the sides of ``step`` may differ for the age of their rows; empty where they are of the same age."""
        found = [self._of_source(name) for name in sorted(self.upstream(step))]
        return "; ".join(reason for reason in found if reason)

    def lost(self, step: Step) -> str:
        """How the lake differs from the landing tables below ``step`` in what both should hold; empty where it does
        not."""
        found = [self._lost(self.sources[name]) for name in sorted(self.upstream(step))]
        return "; ".join(reason for reason in found if reason)

    def arrived(self, step: Step) -> int:
        """How many rows came to the sources of ``step`` since the watermark up to which batch has them; 0 where batch
        reads one of them elsewhere, or nothing was exported yet, so that there is no watermark."""
        names = self.upstream(step)
        if not names <= self.watermarks.keys() or not any(moment > EPOCH for moment in self.watermarks.values()):
            return 0
        return sum(landed_rows(self.client, self.sources[name], self.watermarks[name]) for name in names)

    def upstream(self, step: Step) -> set[str]:
        """Names of the sources below ``step``."""
        found: set[str] = set()
        for name in step.depends_on:
            if name in self.steps:
                found |= self.upstream(self.steps[name])
            # ``source.<project>.<source>.<table>`` as dbt has it, or ``<source>.<table>``.
            elif ".".join(name.split(".")[-2:]) in self.sources:
                found.add(".".join(name.split(".")[-2:]))
        return found

    def _source_reason(self, name: str) -> str:
        spec = self.sources[name]
        try:
            return self._compared(spec)
        except DuetError as error:
            return error.message

    def _compared(self, spec: SourceSpec) -> str:
        files = lake_files(self.settings, spec.name)
        exported, built = watermark(files), self.watermarks.get(spec.name)
        arrived = landed_rows(self.client, spec, exported)
        if arrived:
            rows = f"{arrived} {'row' if arrived == 1 else 'rows'} of {spec.name}"
            return f"{rows} arrived since the last export: run duet export and duet batch"
        if built is not None and built < exported:
            return f"batch has seen the lake of {spec.name} up to {built:%Y-%m-%d %H:%M:%S}Z only: run duet batch"
        return self._lost(spec)

    def _lost(self, spec: SourceSpec) -> str:
        different = lake_differs(spec, lake_files(self.settings, spec.name), self.client)
        return f"{different}: delete the folder and run duet export and duet batch" if different else ""
