"""What each pass made of a query: for `duet explain`."""

from __future__ import annotations

import dataclasses

from sqlglot import exp


@dataclasses.dataclass(frozen=True)
class Stage:
    """The query after the pass ``name``, which changed it."""

    name: str
    sql: str


class Trace:
    """Stages of one query in the order of its passes; those that change nothing leave none."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def authored(self, name: str, tree: exp.Query) -> None:
        """Notes a query in DuckDB's dialect."""
        self.note(name, tree.sql("duckdb", pretty=True))

    def note(self, name: str, sql: str) -> None:
        """Notes the text of a query."""
        if not self.stages or self.stages[-1].sql != sql:
            self.stages.append(Stage(name, sql))
