"""What `duet up` starts and `duet down` stops: the local ClickHouse and the HTTP server."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Mapping
from datetime import datetime

import msgspec

from realtime.clickhouse import local
from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import database_name, find_endpoint, remote_endpoint
from realtime.deploy.diff import states_of
from realtime.deploy.freshness import Fresh, freshness
from realtime.deploy.ledger import Ledger
from realtime.deploy.live import active_plan
from realtime.disk import shortage
from realtime.errors import DuetError, UnavailableError
from realtime.ingest.exports import Waiting, waiting
from realtime.ingest.topics import Topic, read_topics
from realtime.planner.ir import Plan, plan_id
from realtime.project.profile import project_name
from realtime.server import process
from realtime.settings import Settings


class Service(msgspec.Struct, frozen=True):
    """A running or missing service: ``pid`` is 0 and ``log`` empty for a server that Duet did not start. ``problem``
    says why it does not take rows."""

    name: str
    running: bool
    address: str
    version: str = ""
    pid: int = 0
    log: str = ""
    problem: str = ""


class Status(msgspec.Struct, frozen=True):
    """What runs, how old the rows are of the deployed models that may be older than what has landed, the states that
    hold only the rows from a moment on, since they were deployed without a backfill, how far behind topics are, and of
    which sources exports have stopped."""

    services: tuple[Service, ...]
    models: tuple[Fresh, ...] = ()
    late: Mapping[str, datetime] = {}
    topics: tuple[Topic, ...] = ()
    exports: tuple[Waiting, ...] = ()

    @property
    def well(self) -> bool:
        """Whether everything runs, every model and source gets new rows, and expired ones go."""
        return all(s.running for s in self.services) and not any(self._problems())

    def _problems(self) -> list[str]:
        return [
            *(s.problem for s in self.services),
            *(m.problem for m in self.models),
            *(t.problem for t in self.topics),
            *(e.problem for e in self.exports),
        ]


def start(settings: Settings) -> list[Service]:
    """Starts what does not run yet; PortInUseError, ConfigError, FullError or UnavailableError where that can't be."""
    project_name(settings.project_dir)
    if remote_endpoint(settings) is None:
        local.start(settings, database_name(settings))
    ClickHouse(find_endpoint(settings)).close()
    process.start(settings)
    return services(settings)


def stop(settings: Settings) -> list[str]:
    """Stops what Duet started, the server first; the names of what ran."""
    return [d.name for d in (process.daemon(settings), local.daemon(settings)) if d.stop()]


def services(settings: Settings) -> list[Service]:
    """ClickHouse and the HTTP server as they are now."""
    return [_clickhouse(settings), _server(settings)]


def status(settings: Settings) -> Status:
    """Services and models as they are now."""
    found = tuple(services(settings))
    if not found[0].running:
        return Status(found)
    with ClickHouse(find_endpoint(settings)) as client:
        plan = active_plan(client, database_name(settings))
        if plan is None:
            return Status(found)
        found_late = Ledger(client, plan.database).late()
        late = {relation: found_late[relation] for relation in states_of(plan) if relation in found_late}
        topics = read_topics(client, plan.database, plan.sources)
        return Status(found, freshness(client, plan), late, topics, waiting(settings, client, plan))


def server_url(settings: Settings) -> str:
    """The running HTTP server's address; UnavailableError where it is not up."""
    found = _server(settings)
    if not found.running:
        raise UnavailableError("the server is not running", remedy="start it: duet up")
    return found.address


def wait_until_served(settings: Settings, plan: Plan, timeout: float = 15) -> None:
    """Returns when the running server works by ``plan``, which was just deployed; at once where none runs.

    UnavailableError where it does not within ``timeout`` seconds.
    """
    found, deadline = _server(settings), time.monotonic() + timeout
    while found.running and _served(found.address) != plan_id(plan):
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"the server at {found.address} did not take up the deployed plan within {timeout:g} s",
                remedy=f"see {found.log}, or start it anew: duet down, duet up",
            )
        time.sleep(0.05)


def _served(address: str) -> str:
    """The id of the plan that the server works by; empty where it is not ready."""
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=5) as answer:
            return str(msgspec.json.decode(answer.read())["plan"])
    except (OSError, KeyError, msgspec.DecodeError):
        return ""


def _clickhouse(settings: Settings) -> Service:
    own = local.daemon(settings).running() if remote_endpoint(settings) is None else None
    log, pid, short = str(local.daemon(settings).log) if own else "", own.pid if own else 0, ""
    try:
        endpoint = find_endpoint(settings)
        short = shortage(endpoint.data)
        with ClickHouse(endpoint) as client:
            version = str(client.value("SELECT version()"))
    except DuetError as error:
        if short:
            return Service("clickhouse", False, endpoint.url, "", pid, log, f"ClickHouse waits for room: {short}")
        return Service("clickhouse", False, error.message)
    return Service("clickhouse", True, endpoint.url, version, pid, log, f"ClickHouse: {short}" if short else "")


def _server(settings: Settings) -> Service:
    found = process.daemon(settings).running()
    if found is None:
        return Service("server", False, "not running")
    return Service("server", True, str(found.details["url"]), "", found.pid, str(process.daemon(settings).log))
