"""DDL of what reads a Kafka topic: ClickHouse's Kafka engine, a queue table, and the view between them.

The queue holds messages as they came. The server takes them from there (see `realtime.ingest.kafka`), so that they go
through the same checks as rows over HTTP, and count once: the engine alone hands a message on again after ClickHouse
was killed, to the landing table and to some of its views.
"""

from __future__ import annotations

from realtime.planner.ir import Kafka, SourceSpec

QUEUE_DAYS = 7
"""How long the queue keeps a message: as long as Kafka itself does unless told otherwise."""

_FLUSH_MS = 500


def queue_of(source: SourceSpec) -> str:
    """The table of messages as they came."""
    return f"{source.landing}__queue"


def engine_of(source: SourceSpec) -> str:
    """The table with the Kafka engine."""
    return f"{source.landing}__kafka"


def view_of(source: SourceSpec) -> str:
    """The view from the one into the other: while it is there, messages are read."""
    return f"{source.landing}__kafka_view"


def connect_ddl(source: SourceSpec, kafka: Kafka, password: str = "") -> list[str]:
    """Statements that begin to read the topic; messages come once the last one is carried out. Without ``password``
    they name the environment variable that holds it."""
    return [_queue(source), _engine(source, kafka, password or f"${{{kafka.password_env}}}"), _view(source)]


def disconnect_ddl(source: SourceSpec) -> list[str]:
    """Statements that end reading. What is in the queue stays; the group's offsets are Kafka's."""
    return [f"DROP TABLE IF EXISTS {view_of(source)} SYNC", f"DROP TABLE IF EXISTS {engine_of(source)} SYNC"]


def _queue(source: SourceSpec) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {queue_of(source)} (\n"
        "  topic LowCardinality(String),\n"
        "  partition Int32,\n"
        "  offset Int64 CODEC(Delta, ZSTD),\n"
        "  message String CODEC(ZSTD),\n"
        "  queued_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC') CODEC(Delta, ZSTD)\n"
        ")\nENGINE = MergeTree\nORDER BY (topic, partition, offset)\n"
        f"TTL toDateTime(queued_at) + INTERVAL {QUEUE_DAYS} DAY\n"
        "SETTINGS index_granularity = 1024"
    )


def _engine(source: SourceSpec, kafka: Kafka, password: str) -> str:
    settings = {
        "kafka_broker_list": _text(kafka.brokers),
        "kafka_topic_list": _text(kafka.topic),
        "kafka_group_name": _text(kafka.group),
        "kafka_format": "'RawBLOB'",
        "kafka_num_consumers": str(kafka.consumers),
        "kafka_thread_per_consumer": "1",
        "kafka_flush_interval_ms": str(_FLUSH_MS),
    }
    if kafka.security_protocol:
        settings["kafka_security_protocol"] = _text(kafka.security_protocol)
    if kafka.password_env:
        settings["kafka_sasl_mechanism"] = _text(kafka.sasl_mechanism)
        settings["kafka_sasl_username"] = _text(kafka.username)
        settings["kafka_sasl_password"] = _text(password)  # ClickHouse shows it as [HIDDEN], in its log too
    lines = ",\n".join(f"  {name} = {value}" for name, value in settings.items())
    return f"CREATE TABLE IF NOT EXISTS {engine_of(source)} (message String)\nENGINE = Kafka\nSETTINGS\n{lines}"


def _view(source: SourceSpec) -> str:
    return (
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {view_of(source)} TO {queue_of(source)} AS\n"
        "SELECT _topic AS topic, toInt32(_partition) AS partition, toInt64(_offset) AS offset, message\n"
        f"FROM {engine_of(source)}"
    )


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
