"""`duet demo`: the whole path on a project's own data, ``data/<source>.ndjson``, step by step."""

from __future__ import annotations

from pathlib import Path

from realtime import show
from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import find_endpoint
from realtime.compile import compile_project
from realtime.deploy.apply import deploy
from realtime.errors import BadRequestError, ConfigError, NotCompiledError, ParityError
from realtime.ingest.export import export
from realtime.ingest.files import load, source_of
from realtime.parity.answers import Answered, answers
from realtime.parity.compare import parity
from realtime.planner.ir import Plan, SourceSpec
from realtime.project.batch import run_batch
from realtime.project.profile import duckdb_path
from realtime.publish.publish import publish
from realtime.services import server_url, start, wait_until_served
from realtime.settings import Settings

_SHOWN_ROWS = 3


def run_demo(settings: Settings) -> None:
    """Every step; BadRequestError where rows of the replay don't fit their source, ParityError where an engine's answer
    differs from the other's, DuetError where a step fails."""
    show.heading("1  ClickHouse and the server")
    show.services(start(settings))
    show.heading("2  compile: DuckDB models to ClickHouse")
    plan = _compiled(settings)
    files = _files(settings, plan)
    with ClickHouse(find_endpoint(settings)) as client:
        show.heading("3  deploy: landing tables, states, views, tests")
        deploy(settings, plan, client, show.note)
        wait_until_served(settings, plan)
        show.heading("4  replay: every row through POST /v1/events/{source}")
        for source, file in files.items():
            _replay(settings, source_of(plan, source), file)
        show.heading("5  batch: export to the lake, dbt build on DuckDB")
        show.exported(export(settings, plan, client), settings.lake_dir)
        run_batch(settings, plan, ("build", "--quiet"))
        show.note("dbt build: models and tests passed")
        for copied in publish(settings, client):
            show.note(str(copied))
        show.heading("6  parity: every model, every row, batch against real time")
        compared = parity(settings, plan, client)
        show.parity(compared)
    _must_agree([c.model for c in compared if c.differing or c.reason])
    show.heading("7  lambdas over HTTP, beside the same query on DuckDB")
    _must_agree([a.name for a in _lambdas(settings, plan) if not a.equal])
    _next(server_url(settings))


def _compiled(settings: Settings) -> Plan:
    outcome = compile_project(settings)
    show.refusals(outcome.refusals)
    if outcome.refusals:
        raise NotCompiledError(outcome.refusals)
    show.shapes(outcome.plan)
    return outcome.plan


def _files(settings: Settings, plan: Plan) -> dict[str, Path]:
    found = {s.name: settings.project_dir / "data" / f"{s.name}.ndjson" for s in plan.sources}
    missing = [str(file) for file in found.values() if not file.exists()]
    if missing:
        raise ConfigError(f"no rows to replay: {', '.join(missing)} is missing", remedy="make demo prepares them")
    return found


def _replay(settings: Settings, source: SourceSpec, file: Path) -> None:
    with show.progress(f"{source.name}: rows") as advance:
        loaded = load(server_url(settings), source, [file], advance, settings.text("DUET_TOKEN"))
    show.taken(source, loaded)
    if loaded.quarantined_rows:
        raise BadRequestError(
            f"{loaded.quarantined_rows:,} rows of {file} are in quarantine: they don't fit source {source.name}",
            remedy=f"select row, columns, reasons from {source.quarantine}; mend the file or the source's declaration",
        )


def _lambdas(settings: Settings, plan: Plan) -> list[Answered]:
    """Every example that the authors of the lambdas gave, on both engines."""
    url, database = server_url(settings), duckdb_path(settings.project_dir)
    found = []
    for spec in plan.lambdas:
        for params in spec.examples:
            answered = answers(spec, params, url, database, settings.text("DUET_TOKEN"))
            show.answered(answered, _SHOWN_ROWS)
            found.append(answered)
    return found


def _must_agree(differing: list[str]) -> None:
    if differing:
        raise ParityError(f"batch and real time differ in {', '.join(differing)}", remedy="see above; duet parity")


def _next(url: str) -> None:
    show.heading("Where to look next")
    show.lines(
        f"{url}/console    the lambdas to run, the models' lineage, the sources",
        f"{url}/docs    their API",
        "dagster dev     lineage, runs, tests and parity as asset checks (in .venv/bin)",
        "duet explain stream_minutes    how a model is kept",
        "duet status; make down    what runs; stop it",
    )
