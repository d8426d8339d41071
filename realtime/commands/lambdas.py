"""``duet lambda``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from realtime import show
from realtime.commands.target import Json, clickhouse, compiled, deployed, pair
from realtime.errors import BadRequestError
from realtime.settings import Settings

lambdas = typer.Typer(no_args_is_help=True, help="Named SQL with parameters that applications call.")


@lambdas.command("list")
def lambda_list(context: typer.Context, json: Json = False) -> None:
    """List the deployed lambdas with their parameters."""
    found = deployed(context.obj).lambdas
    show.json_document(found) if json else show.lambdas(found)


@lambdas.command("run")
def lambda_run(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A lambda's name.")],
    given: Annotated[
        list[str] | None, typer.Argument(help="Parameters, as in stream_id=abc.", metavar="NAME=VALUE")
    ] = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Print the rows only, as JSON, one a line; those of all pages.")
    ] = False,
) -> None:
    """Call a lambda on the running server and print the answer."""
    from realtime.services import server_url
    from realtime.serving.client import all_pages, run_lambda

    url, token, params = server_url(context.obj), context.obj.text("DUET_TOKEN"), dict(pair(p) for p in given or [])
    if rows:
        for page in all_pages(url, name, params, token=token):
            typer.echo(page, nl=False)
        return
    status, answer = run_lambda(url, name, params, token=token)
    typer.echo(answer)
    raise typer.Exit(0 if status == 200 else 1)


@lambdas.command("deploy")
def lambda_deploy(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(help="Lambdas; all of the project where none is named.")] = None,
) -> None:
    """Compile, and make lambdas latest as they are in the project; models stay as they are.

    Refused where one reads a model that answers otherwise on the server than in the project: duet deploy --select
    LAMBDA takes it along.
    """
    from realtime.deploy.apply import deploy
    from realtime.deploy.live import deployed_plan
    from realtime.deploy.selection import lambdas_plan
    from realtime.services import wait_until_served

    plan = compiled(context.obj).plan
    with clickhouse(context.obj) as client:
        wanted = lambdas_plan(plan, deployed_plan(context.obj, client), names or ())
        deploy(context.obj, wanted, client, show.note)
    wait_until_served(context.obj, wanted)


@lambdas.command("client")
def lambda_client(
    context: typer.Context,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it; default: standard output.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="The class's name; default: the project's, as LiveClient.")] = "",
) -> None:
    """Compile, and write a typed Python client of the project's lambdas: one module, which needs httpx2 only."""
    from realtime.clients.python import python_client

    plan = compiled(context.obj).plan
    text = python_client(plan, name)
    if output is None:
        typer.echo(text, nl=False)
        return
    output.write_text(text, encoding="utf-8")
    show.note(f"{output}: {len(plan.lambdas)} lambdas")


@lambdas.command("tag")
def lambda_tag(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A lambda's name.")],
    tag: Annotated[str, typer.Argument(help="A tag, as in production.")],
    versions: Annotated[
        list[str] | None,
        typer.Argument(
            help="Where it shall point: a version, its first letters, or latest. Several, each with a weight, share "
            "the calls: 3f2a=95 latest=5.",
            metavar="VERSION[=WEIGHT]",
        ),
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="Point to where it pointed before.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take the tag away.")] = False,
    json: Json = False,
) -> None:
    """Move a tag; without versions, show where it pointed.

    Servers follow within a second.
    """
    if sum((bool(versions), back, remove)) > 1:
        raise BadRequestError("a tag is moved to versions, back, or removed", remedy="give one of the three")
    with clickhouse(context.obj) as client:
        tags = tags_of(context.obj, client)
        if versions:
            found = [tags.move(name, tag, versions)]
        elif back or remove:
            found = [tags.back(name, tag) if back else tags.remove(name, tag)]
        else:
            found = tags.history(name, tag)
    show.json_document(found) if json else show.tags(found)


@lambdas.command("diff")
def lambda_diff(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A lambda's name.")],
    old: Annotated[str, typer.Argument(help="A version, its first letters, or latest.")],
    new: Annotated[str, typer.Argument(help="Another one.")] = "latest",
    calls: Annotated[int, typer.Option("--calls", help="How many recorded calls to replay.", min=1)] = 100,
    json: Json = False,
) -> None:
    """Replay recorded calls on two versions: what differs, and how long each takes.

    Exit status 1 if anything does.
    """
    from realtime.services import server_url
    from realtime.serving.replay import replay

    with clickhouse(context.obj) as client, show.progress("calls") as advance:
        tags = tags_of(context.obj, client)
        versions = tags.version(name, old), tags.version(name, new)
        token = context.obj.text("DUET_TOKEN")
        found = replay(client, tags.database, server_url(context.obj), name, versions, calls, advance, token)
    show.json_document(found) if json else show.replayed(found)
    raise typer.Exit(1 if found.differing else 0)


def tags_of(settings: Settings, client: Any) -> Any:
    """The tags of what is deployed; ConfigError before the first deploy."""
    from realtime.deploy.ledger import Ledger
    from realtime.deploy.live import deployed_plan
    from realtime.serving.tags import Tags

    plan = deployed_plan(settings, client)
    ledger = Ledger(client, plan.database)
    ledger.create()
    latest = {spec.name: spec.version for spec in plan.lambdas}
    known = {name: sorted(found, key=lambda v: v == latest.get(name)) for name, found in ledger.versions().items()}
    return Tags(client, plan.database, known)
