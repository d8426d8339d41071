"""What /openapi.json says is so: the document by the standard's own schema, the server's answers by Schemathesis."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.emit.landing import landing_ddl
from tests.planner.small import Declared, Deployed, planned, project
from tests.planner.test_lambdas import written
from tests.server.running import Running, running
from tests.serving.plans import deploy

SOURCES = {
    "app.events": Declared(
        {"id": "varchar", "k": "varchar", "n": "integer", "price": "decimal(10,2)", "x": "double", "flag": "boolean",
         "day": "date", "seen_at": "timestamp", "u": "uuid", "tags": "varchar[]"}, not_null=("id", "tags"),
    ),
    "app.users": Declared(
        {"id": "varchar", "version": "bigint", "gone": "boolean", "n": "integer"},
        options={"mode": "upsert", "key": "id", "version": "version", "deleted": "gone"},
    ),
}  # fmt: skip
MODELS = {
    "events": "select * from {{ source('app', 'events') }}",
    "users": "select id, n from {{ source('app', 'users') }}",
}
LAMBDAS = {
    "of_k": "select k, count(*) as events, max(seen_at) as newest, sum(price) as total from {{ ref('events') }}"
    " where k = {{ param('k', 'varchar', description='Which k.') }} group by k",
    "recent": "select id, k, n, price, x, flag, day, seen_at, u, tags from {{ ref('events') }}"
    " where seen_at <= {{ as_of() }} and n >= {{ param('least', 'integer', default=0, min=-5, max=5) }}"
    " order by seen_at desc, id limit {{ param('rows', 'bigint', default=2) }}",
    "kinds": "select {{ param('day', 'date') }} as day, {{ param('at', 'timestamp', required=false) }} as at,"
    " {{ param('zoned', 'timestamptz', required=false) }} as zoned, {{ param('p', 'decimal(10,2)', default=1) }} as p,"
    " {{ param('x', 'double', required=false) }} as x, {{ param('single', 'float', required=false) }} as single,"
    " {{ param('u', 'uuid', required=false) }} as u, {{ param('flag', 'boolean', default=true) }} as flag,"
    " {{ param('texts', 'varchar[]', default=['a']) }} as texts, {{ param('days', 'date[]', default=[]) }} as days,"
    " {{ param('huge', 'hugeint', default=7) }} as huge,"
    " {{ param('word', 'varchar', default='b', enum=['a', 'b']) }} as word",
    "user_of": "select id, n from {{ ref('users') }} where id = {{ param('id', 'varchar') }}",
}


@pytest.fixture(scope="module")
def served(endpoint: Endpoint, clickhouse: ClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of both kinds of sources, and of lambdas with every kind of parameter."""
    database = f"o{uuid.uuid4().hex[:12]}"
    plan = planned(project(SOURCES, MODELS, queries={n: written(sql) for n, sql in LAMBDAS.items()}), database)
    Deployed(plan, clickhouse)
    for source in plan.sources:
        for statement in landing_ddl(source):
            clickhouse.execute(statement)
    deploy(clickhouse, plan)
    with running(endpoint, database, tmp_path_factory.mktemp("server")) as server:
        yield server
    for suffix in ("", "_raw", "_state", "_duet"):
        clickhouse.execute(f"DROP DATABASE IF EXISTS {database}{suffix} SYNC")


@pytest.fixture(scope="module")
def api(served: Running) -> dict[str, Any]:
    found: dict[str, Any] = served.ask("/openapi.json").json
    return found


def test_the_document_is_openapi(api: dict[str, Any]) -> None:
    validate(api)


def test_every_answer_is_described(api: dict[str, Any]) -> None:
    get = api["paths"]["/v1/lambdas/of_k"]["get"]["responses"]
    assert set(get) == {"200", "304", "400", "404", "406", "413", "422", "429", "500", "503", "504"}
    assert "ETag" in get["200"]["headers"]
    assert "ETag" in get["304"]["headers"]
    assert "content" not in get["304"]
    assert {"Retry-After", "X-RateLimit-Remaining"} < set(get["429"]["headers"])
    media = {"json", "x-ndjson", "vnd.apache.arrow.stream", "vnd.apache.parquet"}
    assert set(get["200"]["content"]) == {"text/csv", *(f"application/{m}" for m in media)}
    assert "410" in api["paths"]["/v1/lambdas/of_k/versions/{version}"]["get"]["responses"]
    assert set(api["paths"]["/v1/events/app.events"]) == {"post"}
    assert set(api["paths"]["/v1/events/app.users"]) == {"post", "patch", "delete"}


def test_what_a_source_does_not_take(served: Running) -> None:
    answer = served.ask("/v1/events/app.events", [], method="PATCH")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert "takes appended rows only" in answer.error["message"]
    assert served.ask("/v1/events/app.users", method="GET").headers["allow"] == "POST, PATCH, DELETE"
    assert served.ask("/v1/events/app.none", [], method="PATCH").status == 404


@pytest.mark.parametrize(
    ("paths", "without"),
    [
        ("^/(v1/lambdas|healthz|readyz)", ""),
        # Rows that are not as they should be are in quarantine, which is 200; and what is CSV no schema can say.
        ("^/v1/events", "negative_data_rejection,positive_data_acceptance"),
    ],
    ids=["lambdas", "events"],
)
def test_the_server_does_what_it_says(served: Running, tmp_path: Path, paths: str, without: str) -> None:
    """Every check of Schemathesis, on requests that fit the document and on those that don't."""
    command = ["-m", "schemathesis.cli", "run", f"http://127.0.0.1:{served.port}/openapi.json"]
    options = ["--include-path-regex", paths, "--phases", "examples,coverage,fuzzing", "--max-examples", "6"]
    options += ["--generation-deterministic", "--no-shrink", "--continue-on-failure", "--no-color"]
    options += ["--exclude-checks", without] if without else []
    done = subprocess.run(
        [sys.executable, *command, *options], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    assert "Selected: 0" not in done.stdout
