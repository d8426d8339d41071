"""Tags are moved in one step, remember where they were, and every server follows."""

from __future__ import annotations

import collections
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.deploy.ledger import Ledger
from realtime.errors import BadRequestError, NotFoundError
from realtime.serving.replay import Difference, replay
from realtime.serving.tags import Share, Tag, Tags
from tests.server.running import Running, running, until
from tests.serving.plans import deploy, param, plan, spec

N = param("n", "INTEGER")
COLUMNS = [("n", "INTEGER")]
OLD = spec("doubled", "SELECT {n:Int32} * 2 AS n", [N], COLUMNS, examples=({"n": 1}, {"n": 4}))
NEW = spec("doubled", "SELECT {n:Int32} * 2 + ({n:Int32} = 4) AS n", [N], COLUMNS, examples=({"n": 1}, {"n": 4}))


@pytest.fixture
def tags(clickhouse: ClickHouse, database: str) -> Tags:
    Ledger(clickhouse, database).create()
    for active in (OLD, NEW):
        deploy(clickhouse, plan(database, [active]))
    return Tags(clickhouse, database, {"doubled": [OLD.version, NEW.version]})


@pytest.fixture
def server(endpoint: Endpoint, tags: Tags, tmp_path: Path) -> Iterator[Running]:
    with running(endpoint, tags.database, tmp_path) as found:
        yield found


def test_moves_and_history(tags: Tags) -> None:
    tags.move("doubled", "production", [OLD.version[:6]])
    tags.move("doubled", "production", [f"{OLD.version}=9", "latest=1"])
    tags.move("doubled", "staging", ["latest"])
    shared = (Share(OLD.version, 9), Share(NEW.version, 1))
    assert [(t.tag, t.versions) for t in tags.current()] == [
        ("production", shared), ("staging", (Share(NEW.version),)),
    ]  # fmt: skip
    assert tags.back("doubled", "production").versions == (Share(OLD.version),)
    assert tags.remove("doubled", "staging").versions == ()
    assert [(t.tag, t.versions) for t in tags.current()] == [("production", (Share(OLD.version),))]
    history = tags.history("doubled", "production")
    assert [t.versions for t in history] == [(Share(OLD.version),), shared, (Share(OLD.version),)]
    assert all(t.at.endswith("Z") for t in history)


@pytest.mark.parametrize(
    ("name", "tag", "targets", "error", "message"),
    [
        ("doubld", "production", ["latest"], NotFoundError, "there is no lambda doubld"),
        ("doubled", "Production", ["latest"], BadRequestError, "can't be a tag"),
        ("doubled", "latest", [OLD.version], BadRequestError, "moved by duet deploy"),
        ("doubled", "production", ["zzz"], NotFoundError, "has no version zzz"),
        ("doubled", "production", [""], NotFoundError, "has no version"),
        ("doubled", "production", ["latest=0"], BadRequestError, "has no weight"),
        ("doubled", "production", ["latest=1.5"], BadRequestError, "has no weight"),
        ("doubled", "production", ["latest=1", f"{NEW.version}=2"], BadRequestError, "points twice"),
    ],
)
def test_what_is_no_move(
    tags: Tags, name: str, tag: str, targets: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        tags.move(name, tag, targets)
    assert tags.current() == []


def test_nothing_to_go_back_to_or_to_remove(tags: Tags) -> None:
    with pytest.raises(NotFoundError, match="has no tag"):
        tags.remove("doubled", "production")
    tags.move("doubled", "production", ["latest"])
    with pytest.raises(NotFoundError, match="has not been moved"):
        tags.back("doubled", "production")


def test_a_split_is_by_weight_and_steady_per_key() -> None:
    tag = Tag("doubled", "production", (Share("old", 3), Share("new", 1)))
    by_key = {f"visitor {n}": tag.pick(f"visitor {n}") for n in range(4000)}
    assert by_key == {key: tag.pick(key) for key in by_key}
    for picks in (collections.Counter(by_key.values()), collections.Counter(tag.pick() for _ in range(4000))):
        assert 0.7 < picks["old"] / 4000 < 0.8


def test_servers_follow_and_calls_are_recorded(tags: Tags, server: Running) -> None:
    path = "/v1/lambdas/doubled/tags/production"
    missing = server.ask(path, n=4)
    assert (missing.status, missing.error["message"]) == (404, "lambda doubled has no tag production")
    tags.move("doubled", "production", [OLD.version])
    until(lambda: server.ask(path, n=4).status == 200, 3)
    answer = server.ask(f"{path}.ndjson", n=4)
    assert (answer.body, answer.headers["x-lambda-version"]) == (b'{"n":8}\n', OLD.version)
    tags.move("doubled", "production", [f"{OLD.version}=1", f"{NEW.version}=1"])
    until(lambda: server.ask(path, n=4, headers={"X-Split-Key": "b"}).status == 200, 3)
    listed = server.ask("/v1/lambdas").json["lambdas"][0]
    until(lambda: len(server.ask("/v1/lambdas").json["lambdas"][0]["tags"]["production"]) == 2, 3)
    assert listed["version"] == NEW.version
    for key in "abcdefgh":
        versions = {server.ask(path, n=4, headers={"X-Split-Key": key}).headers["x-lambda-version"] for _ in range(3)}
        assert len(versions) == 1
    assert server.ask("/v1/lambdas/doubled", n="x").status == 400
    assert server.stop() == 0
    kept = tags.client.rows(f"SELECT tag, parameters FROM {tags.database}_duet.calls")
    assert len(kept) == 5
    assert {json.loads(row["parameters"])["n"] for row in kept} == {4}
    counted = tags.client.rows(f"SELECT status, sum(calls) AS calls FROM {tags.database}_duet.traffic GROUP BY status")
    by_status: dict[int, Any] = {row["status"]: row["calls"] for row in counted}
    assert by_status[400] == 1
    assert by_status[200] > 24


def test_a_replay_shows_what_differs(tags: Tags, server: Running, tmp_path_factory: pytest.TempPathFactory) -> None:
    url = f"http://127.0.0.1:{server.port}"
    versions = (OLD.version, NEW.version)
    found = replay(tags.client, tags.database, url, "doubled", versions, 100)
    assert (found.calls, found.examples) == (2, True)
    assert found.differing == (Difference({"n": 4}, [{"n": 8}], [{"n": 9}]),)
    for n in (1, 1, 2, 4):
        server.ask("/v1/lambdas/doubled", n=n)
    assert server.stop() == 0
    with running(
        Endpoint(tags.client.endpoint.host, tags.client.endpoint.port), tags.database, tmp_path_factory.mktemp("again")
    ) as new:
        url = f"http://127.0.0.1:{new.port}"
        found = replay(tags.client, tags.database, url, "doubled", versions, 100)
        assert (found.calls, found.examples, found.old.failed, found.new.failed) == (3, False, 0, 0)
        assert [d.parameters for d in found.differing] == [{"n": 4}]
        assert replay(tags.client, tags.database, url, "doubled", (OLD.version,) * 2, 1).differing == ()
