"""``duet token``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from realtime import show
from realtime.commands.target import Json, clickhouse, pair
from realtime.errors import BadRequestError
from realtime.settings import Settings

tokens = typer.Typer(no_args_is_help=True, help="Who may call the server; once there is a token, every call needs one.")


@tokens.command("create")
def token_create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Who or what it is for.")],
    run: Annotated[list[str] | None, typer.Option("--run", help="A lambda that it may call; * for all.")] = None,
    ingest: Annotated[list[str] | None, typer.Option("--ingest", help="A source that it may fill; * for all.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="It may read what there is: lists, API, metrics.")] = False,
    fixed: Annotated[
        list[str] | None,
        typer.Option("--fixed", help="A parameter that every call has, so that it sees these rows only.",
                     metavar="NAME=VALUE"),
    ] = None,
    rate: Annotated[float, typer.Option("--rate", help="Most calls a second; 0: as many as come.", min=0)] = 0,
    days: Annotated[float, typer.Option("--days", help="How long it is valid; 0: until it is revoked.", min=0)] = 0,
) -> None:  # fmt: skip
    """Make a token and print it. It is shown once: only its hash is kept."""
    from datetime import UTC, datetime, timedelta

    from realtime.serving.tokens import Grant

    expires = (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds") if days else ""
    pairs = dict(pair(text) for text in fixed or [])
    grant = Grant(name, tuple(run or ()), tuple(ingest or ()), admin, pairs, rate, expires)
    with clickhouse(context.obj) as client:
        typer.echo(tokens_of(context.obj, client).create(grant))


@tokens.command("list")
def token_list(context: typer.Context, json: Json = False) -> None:
    """List the tokens, without their secrets."""
    with clickhouse(context.obj) as client:
        found = tokens_of(context.obj, client).all()
    show.json_document(found) if json else show.tokens(found)


@tokens.command("revoke")
def token_revoke(
    context: typer.Context,
    token: Annotated[str, typer.Argument(help="Its name, or its id where several have that name.")] = "",
    every: Annotated[
        bool, typer.Option("--all", help="All, and call without one again; for a server on loopback only.")
    ] = False,
) -> None:
    """Take a token away; servers follow within a second."""
    if every == bool(token):
        raise BadRequestError("which token?", remedy="give its name or id, or --all")
    with clickhouse(context.obj) as client:
        found = tokens_of(context.obj, client)
        found.clear() if every else found.revoke(token)


@tokens.command("rotate")
def token_rotate(
    context: typer.Context,
    token: Annotated[str, typer.Argument(help="Its name, or its id where several have that name.")],
    hours: Annotated[float, typer.Option("--hours", help="How long the old one stays valid.", min=0)] = 24,
) -> None:
    """Print a new secret for a token; the old one stays valid until applications have the new one."""
    with clickhouse(context.obj) as client:
        typer.echo(tokens_of(context.obj, client).rotate(token, hours))


def tokens_of(settings: Settings, client: Any) -> Any:
    """The tokens of the project."""
    from realtime.clickhouse.endpoint import database_name
    from realtime.deploy.ledger import Ledger
    from realtime.serving.tokens import Tokens

    database = database_name(settings)
    Ledger(client, database).create()
    return Tokens(client, database)
