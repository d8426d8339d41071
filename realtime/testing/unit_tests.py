"""dbt's unit tests as the manifest holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec


class UnitTest(msgspec.Struct, frozen=True, kw_only=True):
    """A unit test. ``inputs`` are the ``ref()``, ``source()`` or ``this`` whose rows are given; ``expected`` is SQL,
    or rows that name the columns to compare."""

    unique_id: str
    name: str
    model: str
    inputs: tuple[str, ...]
    expected: str | Sequence[Mapping[str, Any]]
    macros: Mapping[str, Any]
    path: str


def read_unit_tests(manifest: Path) -> tuple[UnitTest, ...]:
    """The enabled unit tests of a ``manifest.json``, by name."""
    nodes: Mapping[str, Any] = json.loads(manifest.read_text()).get("unit_tests") or {}
    found = [_unit_test(n) for n in nodes.values() if n["config"].get("enabled", True)]
    return tuple(sorted(found, key=lambda test: test.unique_id))


def batch_only(test: UnitTest) -> str:
    """Why ``test`` is of incremental batch runs only; empty where it holds for the whole model."""
    if any(given.strip() == "this" for given in test.inputs):
        return "its input `this` is what earlier batch runs left; real time computes the model whole"
    if test.macros.get("is_incremental"):
        return "it tests the incremental run of a batch; real time computes the model whole"
    return ""


def _unit_test(node: Mapping[str, Any]) -> UnitTest:
    return UnitTest(
        unique_id=node["unique_id"],
        name=node["name"],
        model=node["depends_on"]["nodes"][0],
        inputs=tuple(given["input"] for given in node["given"]),
        expected=node["expect"]["rows"],
        macros=(node.get("overrides") or {}).get("macros") or {},
        path=node["original_file_path"],
    )
