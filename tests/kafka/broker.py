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

_JARS = Path(__file__).parents[2] / ".kafka" / "jars"
_JAVA = ("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", f"{_JARS}/*")
_CLUSTER = "AAAAAAAAAAAAAAAAAAAAAQ"
_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/data
num.partitions=2
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Its address; topics are made with two partitions when they are first written to."""
    assert any(_JARS.glob("kafka_*.jar")), "Apache Kafka is not there: run make kafka"
    folder = Path(tempfile.mkdtemp(prefix="duet-kafka-"))
    broker, controller = _free_ports()
    properties = folder / "server.properties"
    properties.write_text(_PROPERTIES.format(folder=folder, broker=broker, controller=controller))
    format_storage = ("kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(properties))
    subprocess.run([*_JAVA, *format_storage], check=True, capture_output=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*_JAVA, "kafka.Kafka", str(properties)], stdout=log, stderr=log)
    try:
        _wait(process, broker, folder / "log")
        yield f"127.0.0.1:{broker}"
    finally:
        process.kill()
        process.wait(10)
        shutil.rmtree(folder)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise AssertionError(f"Kafka did not start: {log.read_text()[-2000:]}")
