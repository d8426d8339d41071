"""What ``meta.lambda`` may say, and what is refused of it."""

from __future__ import annotations

from typing import Any

import pytest

from realtime.errors import RefusedError
from realtime.planner.call_options import CallOptions, call_options
from realtime.planner.ir import CallLimits


def test_what_is_said_and_what_is_not() -> None:
    assert call_options({}) == CallOptions()
    assert call_options({"examples": [{"a": 1}]}) == CallOptions()
    limits = {"seconds": 2, "rows": 10, "megabytes": 100, "concurrency": 3}
    found = call_options({"limits": limits, "cache": {"seconds": 0.5}})
    assert found == CallOptions(
        limits=CallLimits(seconds=2.0, rows=10, megabytes=100, concurrency=3), cache_seconds=0.5
    )


@pytest.mark.parametrize(
    ("given", "reason", "remedy"),
    [
        ({"limit": {}}, "unknown option limit in meta.lambda", "did you mean limits?"),
        ({"limits": {"second": 1}}, "unknown option second in meta.lambda.limits", "did you mean seconds?"),
        ({"limits": {"seconds": 0}}, "meta.lambda.limits.seconds is 0", "a number from 0.01 to 60"),
        ({"limits": {"seconds": "2"}}, "meta.lambda.limits.seconds is '2'", "a number from 0.01 to 60"),
        ({"limits": {"rows": 1.5}}, "meta.lambda.limits.rows is 1.5", "a whole number from 1 to 1,000,000"),
        ({"limits": {"rows": True}}, "meta.lambda.limits.rows is True", "a whole number"),
        ({"limits": {"concurrency": -1}}, "meta.lambda.limits.concurrency is -1", "a whole number from 1"),
        ({"limits": 5}, "meta.lambda.limits is 5", "as in {seconds: 5}"),
        ({"limits": {}}, "meta.lambda.limits is {}", "as in {seconds: 5}"),
        ({"cache": 5}, "meta.lambda.cache is 5", "as in {seconds: 5}"),
        ({"cache": {"seconds": 1e9}}, "meta.lambda.cache.seconds is", "a number from 0.1 to 86,400"),
        ({"paging": {}}, "meta.lambda.paging is {}", "as in {size: 5}"),
        ({"paging": {"size": 0}}, "meta.lambda.paging.size is 0", "a whole number from 1 to 10,000"),
        ({"paging": {"max": 10_001}}, "meta.lambda.paging.max is 10001", "a whole number from 1 to 10,000"),
        ({"paging": {"size": 9, "max": 5}}, "meta.lambda.paging.size is 9, more than its max of 5", "a larger max"),
        ({"paging": {"limit": 9}}, "limit in meta.lambda.paging", "size"),
        ({"paging": True, "limits": {"rows": 1000}}, "but a page may have 1,000 rows", "leave limits.rows out"),
        ({"cache": {"seconds": float("nan")}}, "meta.lambda.cache.seconds is nan", "a number from 0.1"),
    ],
)
def test_refused(given: dict[str, Any], reason: str, remedy: str) -> None:
    with pytest.raises(RefusedError) as found:
        call_options(given)
    assert reason in found.value.message
    assert remedy in found.value.remedy
