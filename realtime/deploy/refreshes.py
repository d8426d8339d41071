"""Tables that refreshable views keep: made and filled before anybody reads them, and filled again on demand."""

from __future__ import annotations

import re
from collections.abc import Iterable

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.ledger import Work
from realtime.deploy.replace import NEXT, put_in_place
from realtime.emit.ddl import create_refresh, create_refreshed
from realtime.errors import CommandError
from realtime.planner.ir import Plan, Refresh

_CAUSE = re.compile(r".*Code: \d+\. (?:DB::Exception: )?(.*?)(?:: while executing .*)?$")


def make_refreshed(work: Work, refreshes: Iterable[Refresh]) -> None:
    """Makes the tables and views of ``refreshes``, in their order: each table is there when it is filled.

    CommandError naming the model where that fails.
    """
    for refresh in refreshes:
        work.check()
        # What was recorded of a table by this name does not hold for the one that is made now.
        work.ledger.mark([refresh.relation], "dropped")
        beside = refresh.relation + NEXT
        for name in (refresh.view, beside):
            work.client.execute(f"DROP TABLE IF EXISTS {name} SYNC")
        work.client.execute(create_refreshed(refresh, beside))
        work.report(f"first refresh of {refresh.name}")
        try:
            work.client.execute(f"INSERT INTO {beside}\n{refresh.select}", settings={"log_comment": work.comment})
        except CommandError as error:
            raise _failed(refresh, error) from None
        put_in_place(work.client, refresh.relation)
        work.client.execute(create_refresh(refresh))
        work.ledger.mark([refresh.relation], "complete")


def refresh_now(client: ClickHouse, refresh: Refresh) -> None:
    """Refreshes once more and returns when that is done: what landed before the call is in.

    CommandError with the cause where the refresh fails; the rows from before stay then.
    """
    client.execute(f"SYSTEM REFRESH VIEW {refresh.view}")
    try:
        client.execute(f"SYSTEM WAIT VIEW {refresh.view}")
    except CommandError as error:
        raise _failed(refresh, error) from None


def _failed(refresh: Refresh, error: CommandError) -> CommandError:
    return CommandError(
        f"model {refresh.name} can't be refreshed: {cause(error.message)}",
        remedy="mend the row or the model: `try_cast`, a wider type, `nullif(divisor, 0)` keep a row from failing",
    )


def refresh_below(client: ClickHouse, plan: Plan, models: Iterable[str]) -> dict[str, str]:
    """Refreshes what ``models`` are made of, themselves included, those that others read first; why it fails, by model,
    for those where it does.
    """
    problems: dict[str, str] = {}
    wanted = with_upstream(plan, models)
    for step in plan.steps:
        if step.refresh is not None and step.model in wanted:
            try:
                refresh_now(client, step.refresh)
            except CommandError as error:
                problems[step.model] = error.message
    return problems


def with_upstream(plan: Plan, models: Iterable[str]) -> set[str]:
    """``models`` and all models that they read, at any distance."""
    reads, found, waiting = {s.model: s.depends_on for s in plan.steps}, set[str](), list(models)
    while waiting:
        name = waiting.pop()
        if name in reads and name not in found:
            found.add(name)
            waiting += reads[name]
    return found


def cause(text: str) -> str:
    """What a refresh failed of, in one line of the server's words.

    >>> cause("Refresh failed: Code: 395. DB::Exception: bad row: while executing 'FUNCTION throwIf(x)'.")
    'bad row'
    """
    first = text.strip().partition("\n")[0]
    found = _CAUSE.match(first)
    return found[1] if found else first
