"""Answers that the caller has already, and those that the server keeps."""

from __future__ import annotations

import json

import pytest

from tests.server.running import Running


def test_an_answer_is_kept_with_its_age(served: Running) -> None:
    first = served.ask("/v1/lambdas/kept", stream="a")
    again = served.ask("/v1/lambdas/kept", stream="a")
    assert first.body == again.body
    assert first.headers["age"] == "0"
    assert int(again.headers["age"]) >= 0
    assert again.headers["cache-control"] == "private, max-age=3600"
    assert again.headers["vary"] == "accept, authorization"
    assert served.ask("/v1/lambdas/kept", {"stream": "a"}).body == first.body
    assert served.ask("/v1/lambdas/kept", stream="b").json["data"] != first.json["data"]
    fresh = served.ask("/v1/lambdas/kept", stream="a", headers={"Cache-Control": "no-cache"})
    assert fresh.json["data"] != first.json["data"]
    assert served.ask("/v1/lambdas/kept", stream="a").body == fresh.body


def test_without_a_cache_nothing_is_said_of_age(served: Running) -> None:
    headers = served.ask("/v1/lambdas/numbers").headers
    assert not headers.keys() & {"age", "cache-control"}


def test_hits_and_misses_are_counted(served: Running) -> None:
    def counted(outcome: str) -> float:
        start = f'duet_cache_calls_total{{lambda="kept",outcome="{outcome}"}} '
        lines = served.ask("/metrics").body.decode().splitlines()
        return next((float(line.removeprefix(start)) for line in lines if line.startswith(start)), 0.0)

    hits, misses = counted("hit"), counted("miss")
    for _ in range(3):
        served.ask("/v1/lambdas/kept", stream="counted")
    assert (counted("hit"), counted("miss")) == (hits + 2, misses + 1)
    kept = next(x for x in served.ask("/metrics").body.decode().splitlines() if x.startswith("duet_cache_bytes "))
    assert float(kept.split()[1]) > 500


@pytest.mark.parametrize("suffix", ["", ".ndjson", ".csv", ".arrow", ".parquet"])
def test_what_the_caller_has_is_not_sent_again(served: Running, suffix: str) -> None:
    first = served.ask(f"/v1/lambdas/numbers{suffix}", count=2)
    tag = first.headers["etag"]
    same = served.ask(f"/v1/lambdas/numbers{suffix}", count=2, headers={"If-None-Match": f'"x", {tag}'})
    assert (same.status, same.body, same.headers["etag"]) == (304, b"", tag)
    assert same.headers["x-lambda-version"] == first.headers["x-lambda-version"]
    assert "content-type" not in same.headers
    assert served.ask(f"/v1/lambdas/numbers{suffix}", headers={"If-None-Match": "*"}).status == 304
    other = served.ask(f"/v1/lambdas/numbers{suffix}", count=3, headers={"If-None-Match": tag})
    assert (other.status, other.headers["etag"] != tag) == (200, True)


def test_only_get_is_conditional(served: Running) -> None:
    tag = served.ask("/v1/lambdas/numbers", count=2).headers["etag"]
    posted = served.ask("/v1/lambdas/numbers", {"count": 2}, headers={"If-None-Match": tag})
    assert (posted.status, "etag" in posted.headers) == (200, False)
    assert served.ask("/v1/lambdas/echo", headers={"If-None-Match": "*"}).status == 400  # errors are told


def test_limits_are_told_and_kept(served: Running) -> None:
    assert served.ask("/v1/lambdas/few", count=3).json["rows"] == 3
    refused = served.ask("/v1/lambdas/few", count=4)
    assert refused.status == 422
    error = refused.error
    assert error["code"] == "too_many_rows"
    assert error["details"]["limit"] == {"rows": 3, "megabytes": 64}
    assert error["details"]["remedy"]
    said = "A call may take 5 s and answer 3 rows. 2 of its queries run at a time."
    api = served.ask("/openapi.json").json["paths"]
    assert said in api["/v1/lambdas/few"]["get"]["description"]
    assert served.ask("/v1/lambdas/few/definition").json["calls"] == said
    listed = {entry["name"]: entry for entry in served.ask("/v1/lambdas").json["lambdas"]}
    assert listed["few"]["limits"] == {"seconds": 5.0, "rows": 3, "concurrency": 2}
    assert (listed["kept"]["cache_seconds"], listed["few"]["cache_seconds"]) == (3600, 0)
    assert "An answer may be 3600 s old." in json.dumps(api["/v1/lambdas/kept"])
