"""`dbt test` on either side, and what its ``run_results.json`` says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from realtime.errors import CommandError
from realtime.project.dbt import run_dbt
from realtime.testing.verdict import Status, Verdict

_STATUS = {"pass": Status.PASS, "warn": Status.WARN, "fail": Status.FAIL, "skipped": Status.NOT_APPLICABLE}


class Result(msgspec.Struct, frozen=True):
    """A test as dbt judged it. ``sql`` is what it compiled: of a unit test, the model over the given rows."""

    unique_id: str
    verdict: Verdict
    sql: str = ""


def run_dbt_tests(
    project_dir: Path,
    profiles_dir: Path,
    target: Path,
    models: Sequence[str],
    environment: Mapping[str, str] | None = None,
) -> dict[str, Result]:
    """Results by unique id of the tests of ``models`` (all where none is named); dbt writes below ``target``.

    CommandError where dbt fails before it runs any test.
    """
    written = target / "run_results.json"
    written.unlink(missing_ok=True)
    select = ["--select", *models] if models else []
    try:
        run_dbt(["test", *select, "--target-path", str(target)], project_dir, profiles_dir, environment=environment)
    except CommandError:
        # A test that fails makes dbt fail too.
        if not written.exists():
            raise
    if not written.exists():
        return {}
    found = [_result(r) for r in json.loads(written.read_text())["results"]]
    return {r.unique_id: r for r in found}


def _result(row: Mapping[str, Any]) -> Result:
    status = _STATUS.get(row["status"], Status.ERROR)
    message = str(row.get("message") or "").replace("\r\n", "\n").strip()
    reason = "" if status is Status.PASS else message
    verdict = Verdict(status, reason, int(row.get("failures") or 0))
    return Result(row["unique_id"], verdict, row.get("compiled_code") or "")
