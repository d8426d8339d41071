"""Which test of the generated project an authored data test became."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from realtime.emit.project import PROFILE
from realtime.emit.tests import as_it_is, carried_arguments, judged_by
from realtime.planner.ir import Plan
from realtime.project.manifest import Project, Test
from realtime.testing.dbt_results import Result
from realtime.testing.verdict import Verdict, not_applicable


class Carried:
    """The data tests of ``authored`` as they run in real time; ``generated`` is the generated project."""

    def __init__(self, authored: Project, plan: Plan, generated: Project) -> None:
        self._authored = authored
        self._sharded = any(s.whole != s.landing for s in plan.sources)
        self._custom = {test.name: test for test in plan.tests}
        self._places = {s.unique_id: f"model.{PROFILE}.{s.model}" for s in plan.steps}
        self._places |= {s.unique_id: f"source.{PROFILE}.landing.{s.whole.split('.')[1]}" for s in plan.sources}
        self._built_in = {
            _key(t, t.attached, t.metadata["kwargs"]): t.unique_id for t in generated.tests if t.metadata is not None
        }
        self._singular = {t.name: t.unique_id for t in generated.tests if t.metadata is None}

    def verdict(self, test: Test, results: Mapping[str, Result]) -> Verdict:
        """What became of ``test`` in real time; not applicable, with the reason, where it was not carried over."""
        found = results.get(self._carried(test))
        return found.verdict if found is not None else not_applicable(self._reason(test))

    def _carried(self, test: Test) -> str:
        if not as_it_is(test, self._authored):
            return self._singular.get(test.name, "")
        arguments = carried_arguments(test, self._sharded)
        return self._built_in.get(_key(test, self._places.get(test.attached, ""), arguments), "")

    def _reason(self, test: Test) -> str:
        if test.name in self._custom and self._custom[test.name].reason:
            return self._custom[test.name].reason
        absent = [u for u in test.depends_on if u not in self._places]
        if absent:
            return f"reads {', '.join(self._name(u) for u in absent)}, which ClickHouse does not keep"
        return "the real-time project has no such test"

    def _name(self, unique_id: str) -> str:
        known = self._authored.models.get(unique_id) or self._authored.sources.get(unique_id)
        return known.name if known is not None else unique_id


def _key(test: Test, place: str, arguments: Mapping[str, Any]) -> str:
    """What a built-in test is: equal for the authored test and the one that it became."""
    assert test.metadata is not None
    given = {k: v for k, v in arguments.items() if k not in ("model", "column_name")}
    return json.dumps([test.metadata["name"], place, test.column, given, judged_by(test)], sort_keys=True, default=str)
