"""The description of the API is valid and says what is deployed."""

from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped]  # has no types
import pytest

from tests.server.conftest import LAMBDAS
from tests.server.running import Running


@pytest.fixture(scope="module")
def api(served: Running) -> dict[str, Any]:
    found: dict[str, Any] = served.ask("/openapi.json").json
    return found


def test_every_lambda_and_source_is_there(api: dict[str, Any]) -> None:
    assert api["openapi"] == "3.1.0"
    for entry in LAMBDAS:
        for path in (f"/v1/lambdas/{entry.name}", f"/v1/lambdas/{entry.name}/versions/{{version}}"):
            assert set(api["paths"][path]) == {"get", "post"}
    row = api["paths"]["/v1/events/chat.messages"]["post"]["requestBody"]["content"]["application/x-ndjson"]["schema"]
    assert row == {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "n": {"type": ["integer", "null"], "format": "int32", "description": "How many"},
        },
        "required": ["id"],
    }


def test_parameters_are_typed(api: dict[str, Any]) -> None:
    count, label, _ = api["paths"]["/v1/lambdas/numbers"]["get"]["parameters"]
    assert count["schema"] == {"type": "integer", "format": "int32", "minimum": 0, "maximum": 1000000, "default": 3}
    assert (count["required"], count["example"]) == (False, 2)
    assert label["schema"] == {"type": "string"}
    body = api["paths"]["/v1/lambdas/numbers"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["additionalProperties"] is False
    assert body["properties"]["label"]["type"] == ["string", "null"]
    assert api["paths"]["/v1/lambdas/echo"]["get"]["parameters"][0]["required"] is True


def test_every_schema_is_one_and_answers_are_of_theirs(served: Running, api: dict[str, Any]) -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("schema"), dict):
                jsonschema.Draft202012Validator.check_schema(node["schema"])
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(api)
    for name in ("numbers", "moment"):
        answer = api["paths"][f"/v1/lambdas/{name}"]["get"]["responses"]["200"]
        jsonschema.validate(served.ask(f"/v1/lambdas/{name}").json, answer["content"]["application/json"]["schema"])
    error = api["components"]["schemas"]["Error"]
    jsonschema.validate(served.ask("/v1/lambdas/none").json, error)


def test_operation_names_are_unique(api: dict[str, Any]) -> None:
    names = [op["operationId"] for verbs in api["paths"].values() for op in verbs.values()]
    assert len(names) == len(set(names))


def test_the_page_needs_nothing_from_elsewhere(served: Running) -> None:
    answer = served.ask("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for outside in (b"http://", b"https://", b"//cdn", b"@import"):
        assert outside not in answer.body
    assert served.ask("/").headers["location"] == "/docs"


def test_metrics(served: Running) -> None:
    served.ask("/v1/lambdas/numbers")
    served.ask("/v1/lambdas/no_such_name")
    text = served.ask("/metrics").body.decode()
    version = next(s.version for s in LAMBDAS if s.name == "numbers")
    assert f'duet_http_requests_total{{lambda="numbers",route="CallLambda",status="200",version="{version}"}}' in text
    assert "duet_queries_in_flight 0.0" in text
    assert f"duet_lambdas {len(LAMBDAS):.1f}" in text
    assert "no_such_name" not in text
