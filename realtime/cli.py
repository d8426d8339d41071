"""The command line: each command reads its arguments, calls one function and prints what it returned."""

from __future__ import annotations

import logging
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from realtime import show
from realtime.commands.lambdas import lambdas
from realtime.commands.target import Json, accepted, clickhouse, compiled, deployed
from realtime.commands.tokens import tokens
from realtime.disk import told
from realtime.errors import BadRequestError, ConfigError, DuetError, NotBuiltError, ParityError
from realtime.settings import Settings

# How `duet --help` groups the commands.
_SERVERS, _MODELS, _ROWS, _CHECKS, _CALLS = "Servers", "Models", "Rows", "Checks", "Calls"

app = typer.Typer(
    help="Write a transformation once, as a dbt model: DuckDB runs it in batch, ClickHouse keeps it fresh, and "
    "applications call it over HTTP.\n\nA first run: duet up, duet deploy, duet ingest SOURCE FILE; then duet export, "
    "duet batch and duet parity.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(lambdas, name="lambda", rich_help_panel=_CALLS)
app.add_typer(tokens, name="token", rich_help_panel=_CALLS)

quarantine = typer.Typer(no_args_is_help=True, help="Rows that did not fit their source: see, mend and replay them.")
app.add_typer(quarantine, name="quarantine", rich_help_panel=_ROWS)

Wait = Annotated[float, typer.Option(help="Seconds to wait for another run of this project, as one of Dagster's.")]
Select = Annotated[
    list[str] | None,
    typer.Option(
        "--select",
        help="Only these, in dbt's selection syntax, as in 'orders+'; what they are made of comes along if it changed.",
    ),
]
Backfill = Annotated[
    bool | None,
    typer.Option(
        "--backfill/--no-backfill",
        help="--no-backfill: new states begin now and lack older rows; --backfill: fill those that began so.",
        show_default=False,
    ),
]


@app.callback()
def project(
    context: typer.Context,
    project_dir: Annotated[
        Path, typer.Option("--project-dir", help="The dbt project's folder.", file_okay=False, exists=True)
    ] = Path(),
) -> None:
    """Holds the project that the command works on."""
    context.obj = Settings.load(project_dir)
    # A write that fails names no file: then it is one of these disks.
    context.with_resource(told((context.obj.project_dir, context.obj.lake_dir, Path(tempfile.gettempdir()))))


@app.command(rich_help_panel=_SERVERS)
def demo(context: typer.Context) -> None:
    """Run the whole path on real data: compile, deploy, replay, batch, compare, call lambdas."""
    from realtime.demo import run_demo

    run_demo(context.obj)


@app.command(rich_help_panel=_SERVERS)
def up(context: typer.Context) -> None:
    """Start ClickHouse (unless CLICKHOUSE_URL or the profile names one) and the HTTP server."""
    from realtime.services import start

    show.services(start(context.obj))


@app.command(rich_help_panel=_SERVERS)
def down(context: typer.Context) -> None:
    """Stop the HTTP server and the local ClickHouse; data stays."""
    from realtime.services import stop

    stopped = stop(context.obj)
    show.note(f"stopped {' and '.join(stopped)}" if stopped else "nothing was running")


@app.command(rich_help_panel=_SERVERS)
def status(context: typer.Context, json: Json = False) -> None:
    """Show what runs, and where, and how old the rows are of models that are refreshed.

    Exit status 1 where something is down or a refresh fails.
    """
    from realtime.services import status as run

    found = run(context.obj)
    show.json_document(found) if json else show.status(found)
    raise typer.Exit(0 if found.well else 1)


@app.command(rich_help_panel=_MODELS)
def compile(
    context: typer.Context,
    target: Annotated[str, typer.Option(help="clickhouse, or a warehouse to emit for: postgres, snowflake.")] = "",
    json: Json = False,
) -> None:
    """Compile the dbt project to target/realtime/ and print each model's shape, or emit it to target/WAREHOUSE/."""
    if target not in ("", "clickhouse"):
        from realtime.compile import compile_for

        emitted = accepted(compile_for(context.obj, target))
        show.json_document(emitted.models) if json else show.emitted(emitted, target)
        return
    outcome = compiled(context.obj)
    show.json_document(outcome.plan.steps) if json else show.shapes(outcome.plan)


@app.command(rich_help_panel=_MODELS)
def explain(context: typer.Context, name: Annotated[str, typer.Argument(help="A model's or a lambda's name.")]) -> None:
    """Print how a model is kept: its shape and why, its SQL after each pass, its tables and views.

    Of a lambda: its parameters, its SQL for one call and for many, what it reads.
    """
    from realtime.explain import explain as run
    from realtime.project.manifest import read_manifest

    plan = compiled(context.obj).plan
    show.explained(run(read_manifest(context.obj.project_dir / "target" / "manifest.json"), plan, name))


@app.command(rich_help_panel=_MODELS)
def plan(context: typer.Context, select: Select = None, backfill: Backfill = None, json: Json = False) -> None:
    """Compile, and print what a deploy would do to the live server, with the reasons; nothing is changed.

    What a deploy does only with --allow-destructive is marked.
    """
    from realtime.deploy.options import Options

    with clickhouse(context.obj) as client:
        wanted = chosen(context.obj, client, select)
        planned(client, wanted, Options.load(context.obj, backfill=backfill), json)


@app.command(rich_help_panel=_MODELS)
def deploy(
    context: typer.Context,
    select: Select = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, as duet plan does.")] = False,
    allow_destructive: Annotated[
        bool, typer.Option("--allow-destructive", help="Allow what loses rows or values that can't be had back.")
    ] = False,
    backfill: Backfill = None,
) -> None:
    """Compile, and make the server so: landing tables, states, views, tests, read views.

    Loses nothing; can be run again at any time.
    """
    from realtime.deploy.apply import deploy as apply
    from realtime.deploy.options import Options
    from realtime.services import wait_until_served

    options = Options.load(context.obj, destructive=allow_destructive, backfill=backfill)
    with clickhouse(context.obj) as client:
        wanted = chosen(context.obj, client, select)
        if dry_run:
            planned(client, wanted, options, False)
            return
        with show.rates() as progress:
            changed = apply(context.obj, wanted, client, show.note, options, progress=progress)
    wait_until_served(context.obj, wanted)
    if changed:
        show.note(f"deployed {show.counted(wanted)} to database {wanted.database}")


@app.command(rich_help_panel=_MODELS)
def rollback(context: typer.Context, model: Annotated[str, typer.Argument(help="A model's name.")]) -> None:
    """Go back to the version of a model that was active before the last deploy of it, with the models and lambdas
    that changed with it.

    It is kept for DUET_KEEP_DAYS, or until the next deploy of the model.
    """
    from realtime.clickhouse.endpoint import database_name
    from realtime.deploy.rollback import rollback as run
    from realtime.services import wait_until_served

    with clickhouse(context.obj) as client:
        active = run(context.obj, client, database_name(context.obj), model, show.note)
    wait_until_served(context.obj, active)
    show.note("rolled back; duet plan shows what the next deploy would do again")


@app.command(rich_help_panel=_MODELS)
def history(context: typer.Context, json: Json = False) -> None:
    """List deploys and rollbacks, the newest first."""
    from realtime.clickhouse.endpoint import database_name
    from realtime.deploy.ledger import Ledger

    deployed(context.obj)
    with clickhouse(context.obj) as client:
        found = Ledger(client, database_name(context.obj)).history()
    show.json_document(found) if json else show.history(found)


@app.command(rich_help_panel=_ROWS)
def ingest(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="A source's table, as in chat.messages.")],
    files: Annotated[list[Path], typer.Argument(help="Files of ndjson, csv or parquet.", dir_okay=False)],
) -> None:
    """Load files through the running server.

    A repeated or resumed load of unchanged files counts each row once, for 30 days; where a file has grown, up to
    5,000 rows from before its old end count again. After declaring a column that rows were refused for, deploy and
    load the same file again: the refused rows are taken, the others are not counted twice. Exit status 1 where rows
    are in quarantine.
    """
    from realtime.ingest.files import load, source_of
    from realtime.services import server_url

    spec = source_of(deployed(context.obj), source)
    with show.progress(f"{source}: rows") as advance:
        taken = load(server_url(context.obj), spec, files, advance, context.obj.text("DUET_TOKEN"))
    show.taken(spec, taken)
    raise typer.Exit(0 if not taken.quarantined_rows else 1)


@quarantine.command("list")
def quarantine_list(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="A source's table; all where none is named.")] = "",
    since: Annotated[datetime | None, typer.Option(help="Only rows that came since this moment, in UTC.")] = None,
    reason: Annotated[str, typer.Option(help="Only rows whose columns or reasons hold this text.")] = "",
    ndjson: Annotated[bool, typer.Option("--ndjson", help="Rows of SOURCE as lines to mend and replay.")] = False,
    json: Json = False,
) -> None:
    """List the rows that wait in quarantine, with their reasons."""
    from realtime.ingest.files import source_of
    from realtime.ingest.quarantine import editable, waiting

    wanted = deployed(context.obj)
    sources = [source_of(wanted, source)] if source else list(wanted.sources)
    if ndjson and not source:
        raise BadRequestError("--ndjson is of one source", remedy="name it: duet quarantine list SOURCE --ndjson")
    with clickhouse(context.obj) as client:
        found = waiting(client, sources, since, reason)
    if ndjson:
        sys.stdout.buffer.writelines(editable(found, sources[0]))
    else:
        show.json_document(found) if json else show.quarantine(found)


@quarantine.command("replay")
def quarantine_replay(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="A source's table, as in chat.messages.")],
    ids: Annotated[list[str] | None, typer.Option("--ids", help="Only these rows; may be given several times.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="Rows as `list --ndjson` wrote them, mended.", dir_okay=False, exists=True)
    ] = None,
) -> None:
    """Send rows in quarantine again: as they are, where their source takes them now, or mended.

    Each counts once, also where this is killed and run again. Exit status 1 where rows do not fit still.
    """
    from realtime.ingest.files import source_of
    from realtime.ingest.quarantine import mended, replay
    from realtime.services import server_url

    spec, texts = source_of(deployed(context.obj), source), mended(file) if file else None
    if texts is not None and ids:
        texts = {row: text for row, text in texts.items() if row in ids}
    with show.progress(f"{source}: rows") as advance, clickhouse(context.obj) as client:
        token = context.obj.text("DUET_TOKEN")
        taken = replay(client, server_url(context.obj), spec, advance, tuple(ids or ()), texts, token)
    show.taken(spec, taken)
    raise typer.Exit(0 if not taken.quarantined_rows else 1)


@app.command(rich_help_panel=_ROWS)
def export(
    context: typer.Context,
    wait: Wait = 600,
    take_over: Annotated[
        bool, typer.Option(help="Delete expired rows once this lake has them, not the one that exported before.")
    ] = False,
    json: Json = False,
) -> None:
    """Write the rows that landed since the last export to the lake, as Parquet.

    Rows whose ttl is over are deleted from the landing tables by this, and only by this, once a lake is in use.
    """
    from realtime.ingest.export import export as run
    from realtime.turn import EXPORT, turn

    wanted = deployed(context.obj)
    with turn(context.obj, EXPORT, wait, show.note), clickhouse(context.obj) as client:
        found = run(context.obj, wanted, client, take_over=take_over)
    show.json_document(found) if json else show.exported(found, context.obj.lake_dir)


@app.command(rich_help_panel=_ROWS, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def batch(context: typer.Context, wait: Wait = 600) -> None:
    """Run `dbt build` on the batch target over the lake, and publish what it built of published models.

    Other arguments are handed to dbt, as in `duet batch --select orders`.
    """
    from realtime.project.batch import run_batch
    from realtime.publish.publish import built_models
    from realtime.turn import BATCH, turn

    wanted = deployed(context.obj)
    with turn(context.obj, BATCH, wait, show.note):
        run_batch(context.obj, wanted, ("build", *context.args))
        for model in built_models(context.obj, wanted):
            try:
                _publish(context.obj, [model])
            except NotBuiltError as error:
                show.note(f"{error.message}: it differs from what is deployed. Run duet deploy, which publishes it")


@app.command(rich_help_panel=_ROWS)
def publish(
    context: typer.Context,
    models: Annotated[list[str] | None, typer.Argument(help="Published models; all where none is named.")] = None,
    wait: Wait = 600,
    json: Json = False,
) -> None:
    """Copy published models, as batch has built them, into ClickHouse: readers see the old rows or the new ones.

    `duet batch` does so by itself.
    """
    from realtime.turn import BATCH, turn

    with turn(context.obj, BATCH, wait, show.note):
        found = _publish(context.obj, models or [])
    if json:
        show.json_document(found)


@app.command(rich_help_panel=_CHECKS)
def parity(
    context: typer.Context,
    models: Annotated[list[str] | None, typer.Argument(help="Models to compare; all where none is named.")] = None,
    wait: Wait = 600,
    json: Json = False,
) -> None:
    """Compare every model in batch and in real time, row by row; where rows came since the export that batch was
    built on, as of then.

    Exit status 1 where one differs.
    """
    from realtime.parity.compare import parity as compare
    from realtime.turn import BATCH, turn

    wanted = deployed(context.obj)
    with turn(context.obj, BATCH, wait, show.note), clickhouse(context.obj) as client:
        found = compare(context.obj, wanted, client, tuple(models or ()))
    show.json_document(found) if json else show.parity(found)
    differing = [c.model for c in found if c.differing or c.reason]
    if differing and json:
        raise typer.Exit(1)
    if differing:
        raise ParityError(f"batch and real time differ in {', '.join(differing)}", remedy="see above what differs")


@app.command("test", rich_help_panel=_CHECKS)
def dbt_tests(
    context: typer.Context,
    models: Annotated[list[str] | None, typer.Argument(help="Models to test; all where none is named.")] = None,
    json: Json = False,
) -> None:
    """Compile, and run dbt's own tests in batch and in real time, unit tests through materialized views too.

    Exit status 1 where one fails or the sides disagree.
    """
    from realtime.testing.run import run_tests

    wanted = compiled(context.obj).plan
    with clickhouse(context.obj) as client, show.progress("tests") as advance:
        found = run_tests(context.obj, wanted, client, tuple(models or ()), advance)
    show.json_document(found) if json else show.tests(found)
    raise typer.Exit(1 if any(t.failed for t in found) else 0)


@app.command(rich_help_panel=_SERVERS)
def serve(context: typer.Context) -> None:
    """Run the HTTP server in the foreground."""
    from realtime.server.process import serve as run

    run(context.obj, context.obj.text("DUET_SERVER_HOST"), context.obj.number("DUET_SERVER_PORT"), None)


@app.command(rich_help_panel=_MODELS)
def transpile(
    query: Annotated[
        Path, typer.Argument(help="DuckDB statements, separated by semicolons.", dir_okay=False, exists=True)
    ],
    schema: Annotated[Path, typer.Option("--schema", help="DuckDB DDL of the tables.", dir_okay=False, exists=True)],
    json: Json = False,
) -> None:
    """Compile single DuckDB statements to ClickHouse SQL, or say why not.

    Exit status 1 where one is refused.
    """
    from realtime.transpile.statements import transpile_statements

    found = transpile_statements(schema.read_text(), query.read_text())
    show.json_document(found) if json else show.statements(found, query)
    raise typer.Exit(0 if all(s.status == "ok" for s in found) else 1)


def _publish(settings: Settings, models: list[str]) -> Any:
    from realtime.publish.publish import publish as run

    with clickhouse(settings) as client, show.rates() as advance:
        found = run(settings, client, models, advance)
    for copied in found:
        show.note(str(copied))
    return found


def chosen(settings: Settings, client: Any, select: list[str] | None) -> Any:
    """The plan to deploy: the compiled one, or the active one with what ``select`` names of it."""
    wanted = compiled(settings).plan
    if not select:
        return wanted
    from realtime.deploy.selection import select_plan

    return select_plan(settings, client, wanted, select)


def planned(client: Any, wanted: Any, options: Any, json: bool) -> None:
    """Prints what a deploy of ``wanted`` would do."""
    from realtime.deploy.diff import changes
    from realtime.deploy.live import read_live
    from realtime.deploy.source_changes import orphans, other_order

    live = read_live(client, wanted.database, wanted)
    found, kept = changes(wanted, live, options), orphans(wanted, live)
    for line in other_order(wanted, live):
        show.note(line)
    show.json_document([*found, *kept]) if json else show.changes(found, kept, options.destructive)


def main() -> None:
    """The entry point: errors that Duet knows are printed with their remedy, without a traceback; with ``--json`` as
    a document too."""
    # What sqlglot warns of is refused, or is none of the author's business.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    try:
        app()
        return
    except DuetError as error:
        found = error
    except OSError as error:
        what = f"{error.filename or 'a file'}: {error.strerror or error}"
        found = ConfigError(what, remedy="check that file or folder")
    show.error(found)
    if "--json" in sys.argv:
        show.json_document(
            {"error": {"code": found.code, "message": found.message, "remedy": found.remedy, "details": found.details}}
        )
    sys.exit(1)
