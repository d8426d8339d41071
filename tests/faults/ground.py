"""A ClickHouse and servers of the tests' own, which can be killed, with a network between them that can be cut."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import psutil

from realtime.clickhouse import local
from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.deploy.apply import deploy
from realtime.deploy.promote import stage_views
from realtime.errors import UnavailableError
from realtime.ingest.export import export
from realtime.ingest.lake_files import lake_files
from realtime.planner.ir import Plan
from realtime.project.manifest import Project
from realtime.settings import Settings
from tests.deploy.conftest import PER_ROOM, PER_SENDER, Site, project, source
from tests.faults.relay import Relay
from tests.server.running import Running, running

DATABASE = "faults"
# Of three partitions, so that an insert may land in part; and two states, one of which may lack what the other has.
SOURCE = source(partition_by="id % 3")
MODELS = {"per_room": PER_ROOM, "per_sender": PER_SENDER}


def rooms_and_senders(version: int) -> Project:
    """The project's ``version``: its states are others than those of the version before."""
    per_room = PER_ROOM.replace("sum(size) as total", f"sum(size) as total, max(size + {version}) as m")
    return project(MODELS | {"per_room": per_room}, of=SOURCE)


class Ground:
    """``servers`` servers over a ClickHouse, reached through `relay`; ``data`` is its folder, if not ``folder``.

    ``version_of`` makes the project of a version.
    """

    def __init__(
        self,
        folder: Path,
        servers: int = 1,
        data: Path | None = None,
        version_of: Callable[[int], Project] = rooms_and_senders,
    ) -> None:
        self.folder = folder
        self._version_of = version_of
        self.version = 0
        self._stack = contextlib.ExitStack()
        self._servers: list[tuple[contextlib.ExitStack, Running]] = []
        with contextlib.ExitStack() as failed:
            failed.callback(self.close)
            self._begin(folder if data is None else data, servers)
            failed.pop_all()

    def _begin(self, data: Path, servers: int) -> None:
        self._settings = Settings.load(data, {"DUET_CLICKHOUSE_PORT": "0"})
        local.start(self._settings)
        self._stack.callback(lambda: local.daemon(self._settings).stop())
        found = local.local_endpoint(self._settings)
        assert found is not None
        self.endpoint: Endpoint = found
        self._settings = Settings.load(data, {"DUET_CLICKHOUSE_PORT": str(found.port)})
        self.site = Site(Settings.load(self.folder, {}), ClickHouse(found), DATABASE)
        self._stack.callback(lambda: self.site.client.close())
        self.deploy()
        self.relay = Relay(found)
        self._near = self._stack.enter_context(self.relay.thread())
        for number in range(servers):
            self._servers.append(self._start(number))

    def close(self) -> None:
        """Ends all of it."""
        for stack, _ in self._servers:
            stack.close()
        self._stack.close()

    @property
    def servers(self) -> list[Running]:
        """Those that run now."""
        return [server for _, server in self._servers]

    @property
    def urls(self) -> list[str]:
        """Where they take events."""
        return [f"http://127.0.0.1:{server.port}/v1/events/chat.messages" for server in self.servers]

    def deploy(self) -> Plan:
        """Deploys the next version of the models; dbt and its tests have no part in it, which take seconds."""
        self.version += 1
        plan = self.site.compile(self._version_of(self.version))
        deploy(self.site.settings, plan, self.site.client, self.site.said.append, build=stage_views)
        return plan

    def kill_server(self, number: int = 0) -> None:
        """``kill -9`` of a server; another one takes its place."""
        stack, server = self._servers[number]
        server.process.kill()
        stack.close()
        self._servers[number] = self._start(number)

    def kill_clickhouse(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """``kill -9`` of ClickHouse, and its start."""
        record = local.daemon(self._settings).running()
        assert record is not None
        process = psutil.Process(record.pid)
        process.kill()
        process.wait(10)
        meanwhile()
        local.start(self._settings)

    def newest_part(self, table: str) -> Path:
        """The folder of the part that ``table`` was given last."""
        database, _, name = table.partition(".")
        part = "SELECT path FROM system.parts WHERE active AND database = {d:String} AND table = {t:String}"
        newest = f"{part} ORDER BY max_block_number DESC LIMIT 1"
        return Path(self.site.client.value(newest, {"d": database, "t": name}))

    def view(self, model: str) -> str:
        """The materialized view of ``model``."""
        (name,) = (n for n in self.site.names("_state") if n.startswith(f"{model}__") and n.endswith("__mv"))
        return name

    def answers(self) -> bool:
        """Whether ClickHouse does."""
        try:
            return bool(self.site.client.value("SELECT 1"))
        except UnavailableError:
            return False

    def is_whole(self) -> bool:
        """Whether the states hold as many rows as the landing table."""
        count = self.site.rows(f"SELECT count() FROM {DATABASE}_raw.chat__messages")
        rooms = self.site.rows("SELECT sum(messages) FROM {db}.per_room")
        return count == rooms == self.site.rows("SELECT sum(messages) FROM {db}.per_sender")

    def verify(self, acknowledged: set[int], sent: set[int]) -> None:
        """Every acknowledged row is there, none twice, none that was not sent; and each state, the landing table and
        batch over the lake hold the same rows."""
        landing = f"{DATABASE}_raw.chat__messages"
        landed = [row["id"] for row in self.site.client.rows(f"SELECT id FROM {landing}")]
        assert len(landed) == len(set(landed)), f"{len(landed) - len(set(landed))} rows are twice in the landing table"
        assert not acknowledged - set(landed), f"{len(acknowledged - set(landed))} acknowledged rows are lost"
        assert not set(landed) - sent
        sql = "SELECT {key}, count(*), sum(size) FROM {table} GROUP BY 1 ORDER BY 1"
        rooms = self._lake(sql.format(key="room", table="lake"))
        senders = [(key, n) for key, n, _ in self._lake(sql.format(key="sender", table="lake"))]
        assert sum(n for _, n, _ in rooms) == len(landed), "the lake has other rows than the landing table"
        assert self.site.per_room() == rooms, "per_room differs from batch"
        assert self.site.rows("SELECT sender, messages FROM {db}.per_sender ORDER BY sender") == senders

    def _lake(self, sql: str) -> list[tuple[Any, ...]]:
        plan = self.site.compile(self._version_of(self.version))
        export(self.site.settings, plan, self.site.client)
        files = [str(file.path) for file in lake_files(self.site.settings, "chat.messages")]
        with duckdb.connect() as connection:
            lake = connection.read_parquet(files)  # noqa: F841  (the query reads it by its name)
            return connection.execute(sql).fetchall()

    def _start(self, number: int) -> tuple[contextlib.ExitStack, Running]:
        folder = self.folder / f"server {number}"
        folder.mkdir(exist_ok=True)
        (folder / "server.ready").unlink(missing_ok=True)
        stack = contextlib.ExitStack()
        return stack, stack.enter_context(running(self._near, DATABASE, folder))


@contextlib.contextmanager
def ground(
    folder: Path,
    servers: int = 1,
    data: Path | None = None,
    version_of: Callable[[int], Project] = rooms_and_senders,
) -> Iterator[Ground]:
    """A `Ground` that ends with the block."""
    found = Ground(folder, servers, data, version_of)
    try:
        yield found
    finally:
        found.close()
