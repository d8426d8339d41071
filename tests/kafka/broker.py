"""Apache Kafka, as Maven brings it: one broker in KRaft mode that ends with the block."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_JARS = Path(__file__).parents[2] / ".kafka" / "jars"
_JAVA = ("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", f"{_JARS}/*")
_CLUSTER = "AAAAAAAAAAAAAAAAAAAAAQ"
_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{guarded},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{guarded}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
  required user_{user}="{password}";
log.dirs={folder}/data
num.partitions=2
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""


USER, PASSWORD = "duet", "its password"


class Addresses(NamedTuple):
    """Where the broker listens: to everybody, and to `USER` with `PASSWORD`."""

    plain: str
    guarded: str


@contextlib.contextmanager
def running() -> Iterator[Addresses]:
    """Its addresses; topics are made with two partitions when they are first written to."""
    assert any(_JARS.glob("kafka_*.jar")), "Apache Kafka is not there: run make kafka"
    folder = Path(tempfile.mkdtemp(prefix="duet-kafka-"))
    plain, guarded, controller = _free_ports(3)
    properties = folder / "server.properties"
    ports = {"plain": plain, "guarded": guarded, "controller": controller}
    properties.write_text(_PROPERTIES.format(folder=folder, user=USER, password=PASSWORD, **ports))
    format_storage = ("kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(properties))
    subprocess.run([*_JAVA, *format_storage], check=True, capture_output=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*_JAVA, "kafka.Kafka", str(properties)], stdout=log, stderr=log)
    try:
        _wait(process, plain, folder / "log")
        yield Addresses(f"127.0.0.1:{plain}", f"127.0.0.1:{guarded}")
    finally:
        process.kill()
        process.wait(10)
        shutil.rmtree(folder)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise AssertionError(f"Kafka did not start: {log.read_text()[-2000:]}")
