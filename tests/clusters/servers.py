"""Two ClickHouse servers of the tests' own that are the two shards of a cluster."""

from __future__ import annotations

import contextlib
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from realtime.clickhouse import local
from realtime.clickhouse.endpoint import Endpoint
from realtime.daemon import Daemon
from realtime.settings import Settings
from tests.clusters.keeper import Keeper

CLUSTER = "both"
REPLICATED = "replicas"
"""A cluster of the same servers as replicas of one shard: only its name is used."""
_HERE = Path(local.__file__).parent


class Server:
    """The shard ``number`` in ``folder``; ``ports`` are those by which the servers reach each other."""

    def __init__(self, folder: Path, number: int, ports: list[int]) -> None:
        self.folder, self.number = folder, number
        self._daemon = Daemon("clickhouse", folder)
        self._tcp, self._http = ports[number], free_port()
        folder.mkdir(parents=True)
        shards = "".join(
            f"<shard><replica><host>127.0.0.1</host><port>{port}</port></replica></shard>" for port in ports
        )
        replicas = shards.replace("</shard><shard>", "")
        clusters = f"<{CLUSTER}>{shards}</{CLUSTER}><{REPLICATED}>{replicas}</{REPLICATED}>"
        more = f"<remote_servers>{clusters}</remote_servers>"
        config = (_HERE / "config.xml").read_text()
        (folder / "config.xml").write_text(config.replace("</clickhouse>", f"{more}</clickhouse>"))
        shutil.copy(_HERE / "users.xml", folder)
        self.start()

    def start(self) -> None:
        """Starts it, where it listened before."""
        command = [sys.executable, "-m", "realtime.clickhouse.launcher"]
        command += ["--library", str(local.find_library(Settings.load(self.folder, {})))]
        command += ["--path", str(self.folder / "data"), "--ready", str(self._daemon.ready)]
        command += ["--config", str(self.folder / "config.xml")]
        command += ["--http-port", str(self._http), "--tcp-port", str(self._tcp)]
        self._daemon.start(command, environment={"DUET_CLICKHOUSE_MEMORY": "3000000000"})

    @property
    def endpoint(self) -> Endpoint:
        """Its own interface: what is done there is done on this server alone."""
        return Endpoint("127.0.0.1", self._http, cluster=CLUSTER)

    def kill(self) -> None:
        """``kill -9``, if it runs."""
        record = self._daemon.running()
        if record is not None:
            process = psutil.Process(record.pid)
            process.kill()
            process.wait(10)


class Cluster:
    """``servers`` and the ``endpoints`` by which clients reach them, in the same order."""

    def __init__(self, servers: list[Server], endpoints: list[Endpoint]) -> None:
        self.servers = servers
        self.endpoints = endpoints


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster that ends with the block."""
    with contextlib.ExitStack() as stack:
        ports = [free_port(), free_port()]
        servers = []
        for number in range(len(ports)):
            servers.append(Server(folder / f"shard {number + 1}", number, ports))
            stack.callback(servers[-1].kill)
        endpoints = stack.enter_context(Keeper([s.endpoint for s in servers]).thread())
        yield Cluster(servers, endpoints)


def free_port() -> int:
    """A port that nothing listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found
