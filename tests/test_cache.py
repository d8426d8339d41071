"""What is compiled with the cache of an earlier compile is what is compiled without, to the byte: models, lambdas
and tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from realtime.cache import Cache
from realtime.emit.project import generate
from realtime.planner import planner
from realtime.planner.planner import plan_project
from realtime.project import manifest
from realtime.project.manifest import Project
from tests.planner.small import Declared, project, render
from tests.planner.sources import COLUMNS, SOURCES

ROOT = Path(__file__).parents[1]
MODELS = {
    "stg_events": "select id, k, n, price, seen_at from {{ source('app', 'events') }} where n > 0",
    "stg_more": "select id, k, n, price, seen_at from {{ source('app', 'more') }}",
    "totals": "select k, count(*) as events, sum(n) as n, max(price) as price from {{ ref('stg_events') }} group by k",
    "newest": "select * from {{ ref('stg_more') }} qualify row_number() over (partition by k order by n desc) = 1",
    "joined": "select t.k, t.n, m.price from {{ ref('totals') }} t left join {{ ref('newest') }} m on m.k = t.k",
    "ranked": "select k, n, rank() over (order by n desc nulls last) as place from {{ ref('joined') }}",
    "both": "select k, n from {{ ref('stg_events') }} union all select k, n from {{ ref('stg_more') }}",
}
QUERIES = {"place_of": "select k, place from {{ ref('ranked') }} where place <= 3"}
TESTS = {"none_below_zero": "select * from {{ ref('totals') }} where n < 0"}
ENTRIES = len(MODELS) + len(QUERIES) + len(TESTS)


def built(
    models: Mapping[str, str] = MODELS,
    *,
    columns: Mapping[str, str] = COLUMNS,
    options: Mapping[str, Mapping[str, Any] | None] | None = None,
) -> Project:
    sources = {**SOURCES, "app.events": Declared(columns, options={"event_time": "seen_at"})}
    return project(sources, models, options=options, queries=QUERIES, tests=[singular(n, t) for n, t in TESTS.items()])


def singular(name: str, sql: str) -> manifest.Test:
    text, reads = render(sql)
    return manifest.Test(f"test.t.{name}", name, text, reads, None, "", "", {}, "", f"tests/{name}.sql")


def compiled(given: Project, file: Path | None) -> dict[str, str]:
    """The generated files; ``file`` keeps the cache."""
    cache = Cache(file) if file is not None else None
    outcome = plan_project(given, "db", cache)
    assert not outcome.refusals
    if cache is not None:
        cache.save()
    return generate(outcome.plan)


CHANGES: dict[str, Project] = {
    "nothing": built(),
    "a column's type": built(columns={**COLUMNS, "n": "bigint"}),
    "a model is gone": built({n: sql for n, sql in MODELS.items() if n != "both"}),
    "a model has another name": built({("all" if n == "both" else n): sql for n, sql in MODELS.items()}),
    "an option": built(options={"totals": {"order_by": ["k"], "index_granularity": 1024}}),
    "what a macro gives": built({**MODELS, "stg_events": MODELS["stg_events"].replace("n > 0", "n > 1")}),
    "another shape upstream": built({**MODELS, "stg_more": MODELS["stg_more"].replace("select", "select distinct")}),
    "a new model": built({**MODELS, "more": "select distinct k from {{ ref('ranked') }}"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_equal_with_and_without(change: str, tmp_path: Path) -> None:
    file = tmp_path / "cache"
    compiled(built(), file)
    assert compiled(CHANGES[change], file) == compiled(CHANGES[change], None)
    # And back again, over a cache of the other state.
    assert compiled(built(), file) == compiled(built(), None)


EDITS: tuple[tuple[str, str], ...] = (
    ("n > 0", "n > 7"), ("n > 7", "n > 0"), ("sum(n)", "max(n)"), ("max(n)", "sum(n)"), ("rank()", "row_number()"),
    ("row_number() over (order", "dense_rank() over (order"), ("left join", "join"), (" join", " left join"),
    ("union all", "union"), ("union select", "union all select"), ("desc nulls last", "nulls first"),
    ("seen_at", "seen_at, day"), ("count(*)", "count(price)"), ("select k, n from", "select distinct k, n from"),
)  # fmt: skip


@hypothesis.settings(max_examples=6, deadline=None, derandomize=True)
@hypothesis.given(st.lists(st.tuples(st.sampled_from(sorted(MODELS)), st.sampled_from(EDITS)), min_size=2, max_size=5))
def test_equal_after_any_edits(edits: list[tuple[str, tuple[str, str]]]) -> None:
    models = dict(MODELS)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cache"
        compiled(built(), file)
        for model, (old, new) in edits:
            models[model] = models[model].replace(old, new)
            assert same(built(models), file)


def same(given: Project, file: Path) -> bool:
    """Whether plan and refusals are those of a compile without the cache in ``file``."""
    cache = Cache(file)
    found, expected = plan_project(given, "db", cache), plan_project(given, "db")
    cache.save()
    assert [str(r) for r in found.refusals] == [str(r) for r in expected.refusals]
    return found.plan == expected.plan and generate(found.plan) == generate(expected.plan)


def test_unchanged_lambdas_and_tests_are_not_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cache"
    expected = compiled(built(), file)
    for name in ("plan_lambda", "plan_test", "plan_model"):
        monkeypatch.setattr(planner, name, None)
    assert compiled(built(), file) == expected


def test_unchanged_models_are_not_compiled_again(tmp_path: Path) -> None:
    file = tmp_path / "cache"
    compiled(built(), file)
    whole = file.read_bytes()
    compiled(built(), file)
    assert file.read_bytes() == whole
    compiled(built({**MODELS, "ranked": MODELS["ranked"] + " order by k"}), file)
    changed = file.read_bytes()
    assert changed != whole
    assert len(entries(whole) & entries(changed)) == ENTRIES - 2  # the model, and the lambda above it


def entries(content: bytes) -> set[tuple[str, bytes]]:
    return set(msgspec.msgpack.decode(content, type=dict[str, bytes]).items())


def test_damage_is_no_harm(tmp_path: Path) -> None:
    file, expected = tmp_path / "cache", compiled(built(), None)
    compiled(built(), file)
    whole = file.read_bytes()
    for place in range(0, len(whole), 97):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        Cache(file)
    for damaged in (b"", b"\xff", whole[:100], whole.replace(b"select", b"SELECT"), whole.replace(b"k", b"j")):
        file.write_bytes(damaged)
        assert compiled(built(), file) == expected


def test_what_dbt_does_not_know_of_is_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "cache"
    totals = built().models["model.t.totals"].relation.sql("duckdb")
    compiled(built({**MODELS, "without_ref": f"select k from {totals}"}), file)
    assert len(entries(file.read_bytes())) == ENTRIES


def test_the_same_on_every_run(tmp_path: Path) -> None:
    for part in ("dbt_project.yml", "profiles", "models", "macros", "realtime/lambdas", "data_tests"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, tmp_path / part)
    found = []
    for seed in ("1", "2"):
        shutil.rmtree(tmp_path / "target", ignore_errors=True)
        run = "from realtime.cli import main; main()"
        command = [sys.executable, "-c", run, "--project-dir", str(tmp_path), "compile"]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True)
        realtime = tmp_path / "target" / "realtime"
        found.append({str(p.relative_to(realtime)): p.read_bytes() for p in sorted(realtime.rglob("*")) if p.is_file()})
    assert found[0] == found[1]
    assert "plan.json" in found[0]
