"""The command line as a person uses it, on a dbt project that knows nothing of Duet but ``meta.realtime``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FILES = {
    "dbt_project.yml": """
name: library
profile: library
model-paths: [models]
""",
    "profiles.yml": """
library:
  target: dev
  outputs:
    dev: {type: duckdb, path: library.duckdb}
""",
    "models/sources.yml": """
sources:
  - name: desk
    tables:
      - name: loans
        config: {meta: {realtime: {event_time: lent_at}}}
        columns:
          - {name: loan_id, data_type: bigint, data_tests: [not_null]}
          - {name: branch, data_type: varchar}
          - {name: fee, data_type: "decimal(8,2)"}
          - {name: lent_at, data_type: timestamp}
""",
    "models/fees.sql": """
select branch, count(*) as loans, sum(fee) as fees, max(lent_at) as last_lent_at
from {{ source('desk', 'loans') }}
group by branch
""",
    "models/last_loans.sql": """
select loan_id, branch, fee, lent_at
from {{ source('desk', 'loans') }}
qualify row_number() over (partition by branch order by lent_at desc, loan_id desc) = 1
""",
    "models/ranked.sql": """
select branch, fees, rank() over (order by fees desc nulls last) as place
from {{ ref('fees') }}
""",
    "models/shares.sql": """
select fees.branch, fees.loans, sum(fees.loans) over () as all_loans, codes.code
from {{ ref('fees') }} as fees
left join {{ ref('codes') }} as codes on codes.branch is not distinct from fees.branch
""",
    "models/codes.sql": """
select branch, hash(branch) as code, {'fees': [sum(fee)], 'days': map([min(lent_at)], [1::hugeint])} as more
from {{ source('desk', 'loans') }}
group by branch
""",
    "models/models.yml": """
models:
  - name: fees
    config: {meta: {realtime: true}}
    columns: [{name: branch, data_tests: [unique]}]
  - name: last_loans
    config: {meta: {realtime: true}}
  - name: ranked
    config: {meta: {realtime: true}}
  - name: codes
    config: {meta: {realtime: {mode: published}}}
    columns: [{name: branch, data_tests: [unique]}]
  - name: shares
    config: {meta: {realtime: {mode: refresh, refresh_every: 1 hour}}}
""",
}
BRANCHES = ["Nord", "Süd", "", None]
ROWS = [
    {
        "loan_id": i,
        "branch": BRANCHES[i % 4],
        "fee": f"{i % 7}.25" if i % 5 else None,
        "lent_at": f"2024-02-{1 + i % 28:02d}T10:00:00.{i:06d}",
    }
    for i in range(1, 501)
]


class Project:
    """A project's folder and `duet` on it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def duet(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("DUET_", "CLICKHOUSE_", "DBT_"))}
        env |= {"DUET_CLICKHOUSE_PORT": "0", "DUET_SERVER_PORT": "0", **environment}
        command = [str(Path(sys.executable).with_name("duet")), "--project-dir", str(self.root), *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)

    def done(self, *arguments: str) -> str:
        found = self.duet(*arguments)
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout

    def failed(self, *arguments: str, **environment: str) -> str:
        found = self.duet(*arguments, **environment)
        assert found.returncode == 1, found.stdout + found.stderr
        assert "Traceback" not in found.stderr
        return found.stderr


def _made(root: Path) -> Project:
    project = Project(root)
    for path, text in FILES.items():
        project.write(path, text)
    project.write("loans.ndjson", "".join(json.dumps(row) + "\n" for row in ROWS))
    return project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The project, up and deployed, its rows in."""
    found = _made(tmp_path_factory.mktemp("library"))
    try:
        found.done("up")
        found.done("compile")
        found.done("deploy")
        found.done("ingest", "desk.loans", str(found.root / "loans.ndjson"))
        yield found
    finally:
        found.duet("down")


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """A project of which nothing runs."""
    return _made(tmp_path)


def _parity(project: Project) -> dict[str, Any]:
    return {record["model"]: record for record in json.loads(project.done("parity", "--json"))}


def test_reading_what_is_not_published_yet(project: Project) -> None:
    status = project.duet("status")
    assert status.returncode == 1
    assert "it is not published yet: run duet batch" in status.stdout
    assert "model codes is not built in batch" in project.failed("publish")
    assert "no model fees is published" in project.failed("publish", "fees")
    assert json.loads(project.done("plan", "--json")) == []
    found = {r["model"]: r for r in json.loads(project.duet("parity", "--json").stdout)}
    for model in ("codes", "shares"):
        assert "model codes is not published yet: run duet batch" in found[model]["reason"]


def test_whole_path_to_zero_differences(project: Project) -> None:
    project.done("export")
    project.done("batch")
    found = _parity(project)
    assert {m: (r["shape"], r["rows_batch"], r["rows_realtime"], r["differing"]) for m, r in found.items()} == {
        "fees": ("aggregate", 4, 4, 0),
        "last_loans": ("latest", 4, 4, 0),
        "ranked": ("read", 4, 4, 0),
        "codes": ("published", 4, 4, 0),
        "shares": ("refresh", 4, 4, 0),
    }


def test_again_counts_each_row_once(project: Project) -> None:
    project.done("up")
    project.done("deploy")
    project.done("ingest", "desk.loans", str(project.root / "loans.ndjson"))
    project.done("export")
    project.done("batch")
    assert all(r["differing"] == 0 for r in _parity(project).values())
    assert json.loads(project.done("plan", "--json")) == []


def test_parity_says_what_differs(project: Project) -> None:
    project.write("more.ndjson", json.dumps({**ROWS[0], "loan_id": 1000, "branch": "West"}) + "\n")
    project.done("ingest", "desk.loans", str(project.root / "more.ndjson"))
    found = project.done("parity")
    assert "fees: as of the export up to" in found
    assert "1 rows came since, into" in found
    project.done("export")
    project.done("batch")
    assert _parity(project)["fees"]["rows_realtime"] == 5


def test_published_columns_that_change(project: Project) -> None:
    project.write(
        "models/codes.sql", FILES["models/codes.sql"].replace("hash(branch) as code", "hash(branch) as code, 1 as one")
    )
    error = project.failed("deploy")
    assert "model codes is not built in batch: columns differ: batch lacks one; the version before goes on" in error
    assert "duet batch, duet deploy" in error
    assert not _parity(project)["codes"]["differing"]
    assert "Run duet deploy, which publishes it" in project.duet("batch", "--select", "codes").stderr
    project.done("deploy")
    assert not _parity(project)["codes"]["differing"]
    assert json.loads(project.done("plan", "--json")) == []
    assert "rows published" in project.duet("publish", "codes").stderr


def test_malformed_events_go_to_quarantine(project: Project) -> None:
    project.write("bad.ndjson", '{"loan_id": "x"}\n{"loan_id": 1, "colour": "red"}\nnonsense\n')
    found = project.duet("ingest", "desk.loans", str(project.root / "bad.ndjson"))
    assert found.returncode == 1
    assert "3 rows are in quarantine" in found.stderr


def test_status_names_the_addresses(project: Project) -> None:
    status = json.loads(project.done("status", "--json"))
    assert [(m["model"], m["problem"]) for m in status["models"]] == [("codes", ""), ("shares", "")]
    assert "shares  refresh" in project.done("status")
    assert {m["model"] for m in status["models"] if m["as_of"]} == {"codes", "shares"}
    found = {s["name"]: s for s in status["services"]}
    assert found["clickhouse"]["running"]
    with urllib.request.urlopen(found["server"]["address"] + "/readyz", timeout=10) as answer:
        assert answer.status == 200


def test_explain(project: Project) -> None:
    found = project.done("explain", "fees")
    assert "fees: aggregate" in found
    assert "CREATE MATERIALIZED VIEW" in found
    assert "no model or lambda 'fee' is kept" in project.failed("explain", "fee")


def test_nothing_is_up(fresh: Project) -> None:
    assert "ClickHouse is not running\n  → start it: duet up" in fresh.failed("deploy")
    assert "duet up" in fresh.failed("ingest", "desk.loans", str(fresh.root / "loans.ndjson"))
    assert fresh.duet("down").returncode == 0


def test_no_project(tmp_path: Path) -> None:
    assert "holds no dbt project" in Project(tmp_path).failed("compile")


def test_source_without_types(fresh: Project) -> None:
    fresh.write("models/sources.yml", FILES["models/sources.yml"].replace(", data_type: varchar", ""))
    error = fresh.failed("compile")
    assert "source desk.loans (models/sources.yml): columns without data_type: branch" in error
    assert not (fresh.root / "target" / "realtime").exists()


def test_refusals_are_all_named(fresh: Project) -> None:
    fresh.write("models/fees.sql", "select branch, hash(branch) as h\nfrom {{ source('desk', 'loans') }}\n")
    fresh.write("models/last_loans.sql", "select now() as t\nfrom {{ source('desk', 'loans') }}\n")
    error = fresh.failed("compile")
    for model in ("fees", "last_loans", "ranked"):
        assert f"refused: models/{model}.sql" in error
    assert "models/fees.sql:1:" in error


def test_a_cycle(fresh: Project) -> None:
    fresh.write("models/fees.sql", "select * from {{ ref('ranked') }}")
    error = fresh.failed("compile")
    assert "Found a cycle" in error
    assert "model.library.fees" in error


def test_unknown_column(fresh: Project) -> None:
    fresh.write("models/fees.sql", "select brunch from {{ source('desk', 'loans') }}\n")
    assert "brunch" in fresh.failed("compile")


def test_server_that_is_down(fresh: Project) -> None:
    error = fresh.failed("deploy", CLICKHOUSE_URL="http://127.0.0.1:9")
    assert "ClickHouse at http://127.0.0.1:9 does not answer" in error


def test_transpile(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("tables.sql", "create table t (a integer, b varchar)")
    project.write("query.sql", "select a + 1 as c from t;\n\nselect hash(b) as h\nfrom t;\n")
    files = ("--schema", str(tmp_path / "tables.sql"), str(tmp_path / "query.sql"))
    found = project.duet("transpile", *files, "--json")
    assert found.returncode == 1
    ok, refused = json.loads(found.stdout)
    assert (ok["status"], ok["line"], ok["reason"]) == ("ok", 1, "")
    assert ok["clickhouse"].startswith("SELECT")
    assert (refused["status"], refused["line"], refused["clickhouse"]) == ("refused", 3, "")
    assert set(ok) == {"sql", "status", "clickhouse", "reason", "line"}
