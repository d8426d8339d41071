"""What commands work on: the project as it compiles, its ClickHouse, and what is deployed to it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from realtime import show
from realtime.errors import BadRequestError, NotCompiledError
from realtime.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def clickhouse(settings: Settings) -> Any:
    """A client of the project's ClickHouse."""
    from realtime.clickhouse.client import ClickHouse
    from realtime.clickhouse.endpoint import find_endpoint

    return ClickHouse(find_endpoint(settings))


def deployed(settings: Settings) -> Any:
    """The plan that the server runs; ConfigError before the first deploy."""
    from realtime.deploy.live import deployed_plan

    with clickhouse(settings) as client:
        return deployed_plan(settings, client)


def compiled(settings: Settings) -> Any:
    """The outcome of a compile without refusals; else every refusal is printed and the command ends."""
    from realtime.compile import compile_project

    with show.waiting("compiling: dbt parses the project, then each model that changed is planned"):
        outcome = compile_project(settings)
    for path in outcome.unmarked:
        show.note(
            f"{path} is no lambda: it has no `meta.lambda`\n"
            "  → write `config: {meta: {lambda: {}}}` into its yml, or `lambda: false` there if it is to be none"
        )
    return accepted(outcome)


def accepted(outcome: Any) -> Any:
    """``outcome`` itself where it has no refusals; else every refusal is printed and the command ends."""
    if outcome.refusals:
        show.refusals(outcome.refusals)
        raise NotCompiledError(outcome.refusals)
    return outcome


def pair(text: str) -> tuple[str, str]:
    """Name and value of ``name=value``; BadRequestError where it is not that."""
    name, equals, value = text.partition("=")
    if not equals:
        raise BadRequestError(f"{text!r} is no parameter", remedy="write it as name=value")
    return name, value
