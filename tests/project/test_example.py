"""The example project: compiles whole, each model in the shape that it is there to show; its data as documented."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from realtime.planner.planner import plan_project
from realtime.project.dbt import run_dbt
from realtime.project.manifest import read_manifest

ROOT = Path(__file__).parents[2]
SHAPES = {
    "stg_chat__messages": "stream",
    "stream_minutes": "aggregate",
    "latest_messages": "latest",
    "senders": "aggregate",
    "stg_shop__purchases": "stream",
    "purchases_per_day": "aggregate",
    "revenue_to_date": "read",
    "customers": "aggregate",
    "average_basket": "aggregate",
}


def test_compiles_with_dbt_alone_and_nothing_is_refused(tmp_path: Path) -> None:
    shutil.copy(ROOT / "dbt_project.yml", tmp_path)
    for folder in ("models", "macros", "profiles", "data_tests", "realtime/lambdas"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    run_dbt(["compile"], tmp_path, tmp_path / "profiles")
    outcome = plan_project(read_manifest(tmp_path / "target" / "manifest.json"), "live")
    assert [str(r) for r in outcome.refusals] == []
    assert {s.model: str(s.shape) for s in outcome.plan.steps} == SHAPES
    assert all(spec.examples and spec.description for spec in outcome.plan.lambdas)
    assert [(t.name, t.reason) for t in outcome.plan.tests if not t.select] == []


@pytest.fixture(scope="module")
def prepare() -> ModuleType:
    """The script ``data/prepare.py``, which is no package."""
    spec = importlib.util.spec_from_file_location("prepare", ROOT / "data" / "prepare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_messages_are_numbered_in_their_conversation(prepare: ModuleType) -> None:
    said = [{"text": t, "sender": "s", "timestamp": "2018-05-02T19:38:15Z"} for t in ("a", "b", "ä")]
    rows = list(prepare._messages({"c": {"messages": [said[:2], said[2:]]}}))
    assert [(r["message_id"], r["text"]) for r in rows] == [("c:00001", "a"), ("c:00002", "b"), ("c:00003", "ä")]


def test_a_purchase(prepare: ModuleType) -> None:
    row = prepare._purchase(7, "00002", "19970112", "5", "77.10")
    assert row["purchase_id"] == "cdnow-00007"
    assert json.dumps([row["purchased_on"], row["items"], row["amount"]]) == '["1997-01-12", 5, 77.1]'


def test_another_count_is_an_error(prepare: ModuleType) -> None:
    with pytest.raises(prepare.DataError, match="3 messages, 258,145 expected"):
        prepare._expect("messages", 3, prepare.MESSAGES)


def test_files_appear_whole(prepare: ModuleType, tmp_path: Path) -> None:
    prepare._write(tmp_path / "chat.messages.ndjson", [{"a": "ä"}, {"a": 1}])
    assert [p.name for p in tmp_path.iterdir()] == ["chat.messages.ndjson"]
    assert (tmp_path / "chat.messages.ndjson").read_text(encoding="utf-8") == '{"a":"ä"}\n{"a":1}\n'
