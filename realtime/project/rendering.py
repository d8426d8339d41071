"""``dbt parse``, then ``dbt compile`` of what Duet reads, in one process: dbt starts and parses once.

Runs as a process of its own (`realtime.project.dbt.compile_dbt`). The tests that dbt-clickhouse runs by their names
need no SQL, and they are most of what a project holds.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from dbt.cli.main import dbtRunner

from realtime.project.parent import end_with_parent

_KINDS = ("model", "seed", "snapshot", "analysis")
_BUILT_IN = frozenset({"unique", "not_null", "accepted_values", "relationships"})


def render(options: list[str]) -> bool:
    """Leaves a manifest with compiled SQL in the project's target folder; ``options`` say where the project is.

    False where dbt fails, and then it has said why.
    """
    parsed = dbtRunner().invoke(["--no-use-colors", "parse", "--no-write-json", *options])
    manifest: Any = parsed.result
    if not parsed.success or manifest is None:
        return False
    select = [*(f"resource_type:{kind}" for kind in _KINDS), "test_type:singular", *sorted(set(_needed(manifest)))]
    # An incremental model is compiled whole, not as what its next batch run would add. Relations are looked up one by
    # one where a macro asks for them, and not all beforehand.
    command = ["--no-use-colors", "compile", "--full-refresh", "--no-populate-cache", "--indirect-selection", "empty"]
    done = dbtRunner(manifest=manifest).invoke([*command, "--no-write-json", "--select", *select, *options])
    if done.success:
        _write(manifest, Path(os.environ["DBT_TARGET_PATH"]) / "manifest.json")
    return bool(done.success)


def _write(manifest: Any, file: Path) -> None:
    """Writes what dbt would have: Python's encoder and dbt's other artifacts take half a second for 500 models."""
    content = manifest.writable_manifest().to_dict(omit_none=False, context={"artifact": True})
    file.write_bytes(msgspec.json.encode(content, enc_hook=str))


def _needed(manifest: Any) -> Iterator[str]:
    """Generic tests whose SQL Duet compiles: by the name of the test where it is not dbt's own, else one by one."""
    for node in manifest.nodes.values():
        metadata = node.test_metadata if node.resource_type == "test" and hasattr(node, "test_metadata") else None
        if metadata is None:
            continue
        if metadata.namespace not in (None, "dbt") or metadata.name not in _BUILT_IN:
            yield f"test_name:{metadata.name}"
        elif node.config.where or any(u.startswith("source.") for u in node.depends_on.nodes):
            yield ".".join(node.fqn)


if __name__ == "__main__":
    end_with_parent()
    # dbt makes many objects that stay and few that refer to each other: looking for these takes 6 % of its time.
    gc.set_threshold(100_000, 50, 1000)
    sys.exit(0 if render(sys.argv[1:]) else 1)
