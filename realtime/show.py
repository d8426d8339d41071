"""What people read in the terminal: tables on standard output, notes and errors on standard error."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from realtime.errors import DuetError, WaitingError

if TYPE_CHECKING:
    from realtime.deploy.change import Change
    from realtime.deploy.ledger import Deployment
    from realtime.emit.warehouses.project import Emitted
    from realtime.explain import Explained, ExplainedLambda
    from realtime.ingest.export import Exported
    from realtime.ingest.files import Loaded
    from realtime.ingest.quarantine import Row
    from realtime.ingest.topics import Topic
    from realtime.parity.answers import Answered
    from realtime.parity.compare import Compared
    from realtime.planner.ir import LambdaSpec, Plan, SourceSpec
    from realtime.services import Service, Status
    from realtime.serving.replay import Replayed
    from realtime.serving.tags import Tag
    from realtime.serving.tokens import Token
    from realtime.testing.verdict import Judged, Verdict
    from realtime.transpile.statements import Statement

_OUT = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 160)
_ERR = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
_WIDEST = 40
_DIFFERENCES = 10
_MOST_PLACES = 5
_NEWEST = 20


def json_document(value: Any) -> None:
    """``value`` as one indented JSON document."""
    _OUT.out(msgspec.json.format(msgspec.json.encode(value, enc_hook=str)).decode())


def note(text: str) -> None:
    """One line about what is going on."""
    _ERR.print(escape(text))


def error(found: DuetError) -> None:
    """The message and its remedy."""
    _ERR.print(f"[bold red]error:[/] {escape(str(found))}")


def refusals(found: Iterable[DuetError]) -> None:
    """Every refusal, each with its place and remedy, and in one line each what waits for the same ones."""
    waiting: dict[tuple[str, ...], list[str]] = {}
    for refusal in found:
        if isinstance(refusal, WaitingError):
            waiting.setdefault(refusal.waits_for, []).append(refusal.model)
        else:
            _ERR.print(f"[bold red]refused:[/] {escape(str(refusal))}\n")
    for waits_for, models in waiting.items():
        named, awaited = (", ".join([*names[:_WIDEST], "…"][: len(names)]) for names in (models, waits_for))
        _ERR.print(f"[yellow]waiting:[/] {escape(named)} (for {escape(awaited)})")
    if waiting:
        _ERR.print()


def services(found: Sequence[Service]) -> None:
    """One line per service."""
    table = _table("service", "state", "address", "version", "pid")
    for service in found:
        state = "[green]running[/]" if service.running else "[red]down[/]"
        table.add_row(service.name, state, escape(service.address), service.version, str(service.pid or ""))
    _OUT.print(table)
    for service in found:
        if service.problem:
            _OUT.print(f"\n[red]{escape(service.problem)}[/]")


def status(found: Status) -> None:
    """The services, the lag of topics, and the age of models that have one."""
    services(found.services)
    for relation, since in found.late.items():
        _OUT.print(f"\n{relation} holds rows from {since:%Y-%m-%d %H:%M:%S}Z on only; duet deploy --backfill fills it")
    for stopped in found.exports:
        colour = "red" if stopped.problem else "yellow"
        _OUT.print(f"\n[{colour}]{escape(str(stopped))}[/]")
    if found.topics:
        _topics(found.topics)
    if not found.models:
        return
    table = _table("model", "shape", "rows as of", "age", "next refresh", "problem")
    now = datetime.now(UTC)
    for m in found.models:
        age = str(now - m.as_of).split(".")[0] if m.as_of is not None else ""
        times = [f"{t:%Y-%m-%d %H:%M:%S}Z" if t is not None else "" for t in (m.as_of, m.due)]
        table.add_row(m.model, m.shape, times[0], age, times[1], f"[red]{escape(m.problem)}[/]" if m.problem else "")
    _OUT.print()
    _OUT.print(table)


def _topics(found: Iterable[Topic]) -> None:
    table = _table("source", "topic", "partition", "last offset", "messages behind", "problem")
    for t in found:
        lag = "" if t.lag is None else f"{t.lag:,}"
        problem = f"[red]{escape(t.problem)}[/]" if t.problem else ""
        table.add_row(
            t.source, escape(t.topic), str(t.partition) if t.partition >= 0 else "", str(t.landed), lag, problem
        )
    _OUT.print()
    _OUT.print(table)


def shapes(plan: Plan) -> None:
    """Each model's shape and why, and the tests that the real-time project goes without."""
    table = _table("model", "shape", "why")
    for step in plan.steps:
        table.add_row(step.model, f"[cyan]{step.shape}[/]", escape(step.why))
    _OUT.print(table)
    for test in plan.tests:
        if not test.select:
            note(f"test {test.name} runs in batch only: {test.reason}")


def emitted(found: Emitted, target: str) -> None:
    """How many models were emitted for a warehouse, and which tests were not."""
    for test in found.left_out:
        note(f"left out: {test}")
    _OUT.print(f"{len(found.models)} models in target/{target}/")


def explained(found: Explained | ExplainedLambda) -> None:
    """Everything about one model or lambda, as text."""
    _OUT.out(str(found))


def counted(plan: Plan) -> str:
    """``4 models over 2 sources, 4 lambdas``."""
    return f"{len(plan.steps)} models over {len(plan.sources)} sources, {len(plan.lambdas)} lambdas"


_SIGNS = {"drop": "[red]-[/]", "retire": "[red]-[/]", "create": "[green]+[/]", "add": "[green]+[/]"}
_SIGNS |= {"register": "[green]+[/]", "keep": "=", "run": ">"}


def changes(found: Sequence[Change], orphans: Sequence[Change] = (), allowed: bool = False) -> None:
    """What a deploy would do, and the tables of no source, which it drops only where that is ``allowed``."""
    for change in [*found, *(orphans if allowed else ())]:
        sign = "[bold red]![/]" if change.destructive else _SIGNS.get(change.kind.split()[0], "[yellow]~[/]")
        _OUT.print(f"{sign} {escape(str(change))}")
    _OUT.print(_total(found) if found else "nothing to do: the server runs this project as it is")
    for change in () if allowed else orphans:
        _OUT.print(f"{change.subject} stays: {change.reason} ({change.rows:,} rows; --allow-destructive drops it)")


def _total(found: Sequence[Change]) -> str:
    rows = sum(change.rows for change in found if "state" in change.kind)
    lost = sum(change.destructive for change in found)
    parts = [f"{len(found)} change{'s' * (len(found) > 1)}"] + [f"about {rows:,} rows to backfill"] * bool(rows)
    return ", ".join(parts + [f"[bold red]{lost} destructive[/] (! needs --allow-destructive)"] * bool(lost))


def history(found: Sequence[Deployment]) -> None:
    """Deploys and rollbacks."""
    table = _table("at", "plan", "what")
    for one in found:
        table.add_row(f"{one.at:%Y-%m-%d %H:%M:%S}Z", one.id, escape(one.what))
    _OUT.print(table)


def taken(source: SourceSpec, loaded: Loaded) -> None:
    """Rows of a load; where the others are, if some were refused."""
    note(f"{source.name}: {loaded.successful_rows:,} rows in, {loaded.seconds:.1f} s, {loaded.rate:,.0f} rows/s")
    if not loaded.quarantined_rows:
        return
    note(f"{loaded.quarantined_rows:,} rows are in quarantine, each with its reasons: table {source.quarantine}")
    for place in loaded.places[:_MOST_PLACES]:
        note(f"  {place}")
    if len(loaded.places) > _MOST_PLACES:
        note(f"  and {len(loaded.places) - _MOST_PLACES:,} places more")


def quarantine(found: Sequence[Row]) -> None:
    """How many rows wait for which reason, then the newest rows."""
    counts = Counter((row.source, row.columns, row.reasons[0] if row.reasons else "") for row in found)
    table = _table("source", "columns", "rows", "reason, of those of one kind")
    kinds: dict[tuple[str, tuple[str, ...], str], tuple[int, str]] = {}
    for (source, columns, reason), count in counts.items():
        kind = (source, columns, re.sub(r"[0-9]+|\"[^\"]*\"|'[^']*'", "…", reason))
        kinds[kind] = (kinds.get(kind, (0, ""))[0] + count, reason)
    for (source, columns, _), (count, reason) in sorted(kinds.items()):
        table.add_row(source, escape(", ".join(columns)), f"{count:,}", escape(reason))
    _OUT.print(table)
    rows = _table("id", "received", "source", "why", "row")
    for row in found[-_NEWEST:]:
        rows.add_row(
            row.id, f"{row.received_at:%Y-%m-%d %H:%M:%S}", row.source, escape(row.why), escape(_short(row.row))
        )
    _OUT.print()
    _OUT.print(rows)
    if len(found) > _NEWEST:
        note(f"the newest {_NEWEST} of {len(found):,} rows; --json or --ndjson has all")


def exported(found: Iterable[Exported], lake: Path) -> None:
    """New rows per source."""
    found = tuple(found)
    table = _table("source", "new rows", "files", "expired rows", f"in {lake}")
    for source in found:
        gone = f"{source.expired:,}" if source.expired else ""
        table.add_row(source.source, f"{source.rows:,}", str(source.files), gone, f"up to {source.watermark}")
    _OUT.print(table)
    for source in found:
        if source.held:
            note(
                f"{source.source}: its expired rows are deleted once another lake has them, so this one may lack some; "
                "duet export --take-over makes it the one that counts"
            )


def parity(found: Iterable[Compared]) -> None:
    """Rows on each side and how many differ, with examples."""
    found = tuple(found)
    table = _table("model", "shape", "rows in batch", "rows in real time", "differing")
    for c in found:
        differing = "[green]0[/]" if not c.differing and not c.reason else f"[red]{c.differing:,}[/] {escape(c.reason)}"
        shape = str(c.shape) + (f", as of {c.as_of:%H:%M:%S}Z" if c.as_of is not None else "")
        table.add_row(c.model, shape, f"{c.rows_batch:,}", f"{c.rows_realtime:,}", differing)
    _OUT.print(table)
    for c in found:
        if c.note:
            _OUT.print(f"  {c.model}: {escape(c.note)}")
        for example in c.examples:
            _OUT.print(f"  {c.model}: {escape(str(example))}")


def tests(found: Sequence[Judged]) -> None:
    """Each test on every side; below, what is wrong, with rows that differ."""
    table = _table("test", "kind", "model", "batch", "real time", "through views")
    for t in found:
        views = _verdict(t.views) if t.kind == "unit" else ""
        table.add_row(t.name, t.kind, t.model, _verdict(t.batch), _verdict(t.realtime), views)
    _OUT.print(table)
    for t in found:
        sides = {"batch": t.batch, "real time": t.realtime, "through views": t.views}
        if t.disagreement:
            _OUT.print(f"\n[bold red]{escape(t.name)}: the sides disagree:[/] {escape(t.disagreement)}")
        for side, verdict in sides.items():
            if verdict.reason and (side != "through views" or t.kind == "unit"):
                _OUT.print(f"\n{escape(t.name)}, {side}: {escape(verdict.reason)}")
            for example in verdict.examples:
                _OUT.print(f"  {escape(str(example))}")
    failed = sum(t.failed for t in found)
    _OUT.print(f"\n{len(found)} tests, {failed} failed" if failed else f"\n{len(found)} tests, none failed")


_COLOURS = {"pass": "green", "warn": "yellow", "not applicable": "dim"}


def _verdict(verdict: Verdict) -> str:
    return f"[{_COLOURS.get(verdict.status, 'red')}]{verdict.status}[/]"


def statements(found: Iterable[Statement], file: Path) -> None:
    """ClickHouse SQL of each statement, or the reason against it."""
    for statement in found:
        if statement.status == "ok":
            _OUT.out(f"{statement.clickhouse};\n")
        else:
            _ERR.print(f"[bold red]refused:[/] {file}:{statement.line}: {escape(statement.reason)}\n")


def lambdas(found: Iterable[LambdaSpec]) -> None:
    """Names, versions and parameters."""
    table = _table("lambda", "version", "parameters", "description")
    for spec in found:
        params = ", ".join(
            f"{p.name} {p.type.lower()}" + ("" if p.required and p.default is None else "?") for p in spec.params
        )
        table.add_row(spec.name, spec.version, escape(params), escape(spec.description))
    _OUT.print(table)


def tags(found: Iterable[Tag]) -> None:
    """Where tags point, or pointed, and since when."""
    table = _table("lambda", "tag", "versions", "since")
    for tag in found:
        whole = sum(share.weight for share in tag.versions)
        shares = [s.version + (f" {s.weight / whole:.1%}" if len(tag.versions) > 1 else "") for s in tag.versions]
        table.add_row(tag.name, tag.tag, ", ".join(shares) or "removed", tag.at or "now")
    _OUT.print(table)


def tokens(found: Iterable[Token]) -> None:
    """What each token is for."""
    table = _table("id", "name", "may", "fixed", "calls a second", "until")
    for token in found:
        grant = token.grant
        may = [f"run {n}" for n in grant.run] + [f"ingest {n}" for n in grant.ingest] + ["admin"] * grant.admin
        fixed = ", ".join(f"{k}={v}" for k, v in grant.fixed.items())
        rate = f"{grant.rate:g}" if grant.rate else "any"
        table.add_row(token.id, escape(grant.name), ", ".join(may), escape(fixed), rate, grant.expires or "revoked")
    _OUT.print(table)


def replayed(found: Replayed) -> None:
    """Both versions' latencies, and the calls whose answers differ."""
    what = "its examples, for no call is recorded" if found.examples else "recorded calls"
    _OUT.print(f"[bold]{found.name}[/]: {found.calls} calls ({what}), {len(found.differing)} answered differently")
    table = _table("version", "p50 ms", "p95 ms", "errors")
    for side in (found.old, found.new):
        table.add_row(side.version, str(side.p50_ms), str(side.p95_ms), str(side.failed))
    _OUT.print(table)
    for difference in found.differing[:_DIFFERENCES]:
        given = ", ".join(f"{name}={value}" for name, value in difference.parameters.items())
        _OUT.print(f"\n{escape(given)}")
        for version, rows in ((found.old.version, difference.old), (found.new.version, difference.new)):
            for row in rows:
                _OUT.print(f"  only {version}: {escape(_short(row))}")


def heading(text: str) -> None:
    """The next step of a longer run."""
    _OUT.print(f"\n[bold cyan]{escape(text)}[/]")


def answered(found: Answered, most: int) -> None:
    """A lambda's answer on both engines, at most ``most`` rows of it."""
    given = ", ".join(f"{name}={value}" for name, value in found.params.items())
    verdict = "[green]equal[/]" if found.equal else "[bold red]DIFFERENT[/]"
    times = f"{found.realtime_ms:.1f} ms over HTTP, {found.batch_ms:.1f} ms in DuckDB"
    _OUT.print(f"\n[bold]{found.name}[/]({escape(given)}): {len(found.realtime)} rows, {verdict}; {times}")
    table = _table("engine", *found.columns)
    for engine, rows in (("ClickHouse", found.realtime), ("DuckDB", found.batch)):
        for row in rows[:most]:
            table.add_row(engine, *(escape(_short(value)) for value in row))
    _OUT.print(table)


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def lines(*texts: str) -> None:
    """Plain lines."""
    for text in texts:
        _OUT.print(escape(text))


@contextlib.contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error; yields a function of (done, total)."""
    parts = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*parts, console=_ERR) as bar:
        task = bar.add_task(label, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance


@contextlib.contextmanager
def rates() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar per label on standard error, with what is done a second and when it ends; yields a function of
    (label, done, total)."""
    parts = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*parts, console=_ERR)
    tasks: dict[str, TaskID] = {}
    begun: dict[str, tuple[float, int]] = {}

    def advance(label: str, done: int, total: int) -> None:
        if label not in tasks:
            bar.start()  # not before: an empty one leaves a line behind
            tasks[label], begun[label] = bar.add_task(escape(label), total=total, rate=""), (time.monotonic(), done)
        since, first = begun[label]
        rate = (done - first) / max(time.monotonic() - since, 1e-3)
        bar.update(tasks[label], completed=done, total=total, rate=f"{rate:,.0f}/s" if done > first else "")

    try:
        yield advance
    finally:
        bar.stop()


@contextlib.contextmanager
def waiting(label: str, patience: float = 2) -> Iterator[None]:
    """A status line on standard error, in a terminal, while what is inside takes more than ``patience`` seconds."""
    status = _ERR.status(escape(label))
    timer = threading.Timer(patience, status.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # it may be about to show the line
        status.stop()


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
