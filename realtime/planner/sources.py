"""dbt sources to the tables that take their rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from realtime.emit.landing import HIDDEN, INGESTED_AT
from realtime.emit.names import quoted
from realtime.errors import RefusedError, SourceError
from realtime.planner import hints
from realtime.planner.expiry import Expiry, Span, of_landing, of_versions
from realtime.planner.indexes import indexes
from realtime.planner.ir import Column, Index, Kafka, Shards, SourceSpec
from realtime.planner.options import nearest, unknown_options
from realtime.project.binder import Binder
from realtime.project.manifest import Source
from realtime.transpile.types import DuckType, Kind, duck_type

_OPTIONS = frozenset(
    {
        *("mode", "key", "version", "deleted", "event_time", "order_by", "partition_by", "ttl", "indexes", "kafka"),
        "shard_by",
    }
)
_TOPIC = {
    "brokers": str, "topic": str, "group": str, "format": str, "consumers": int, "security_protocol": str,
    "sasl_mechanism": str, "username": str, "password_env": str,
}  # fmt: skip
_PROTOCOLS = {"plaintext": False, "ssl": False, "sasl_plaintext": True, "sasl_ssl": True}
"""How a connection to Kafka may be secured, and whether by a password."""
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_MODES = ("append", "upsert")
_MOMENTS = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})


def plan_source(source: Source, binder: Binder, database: str, cluster: str = "") -> SourceSpec:
    """The landing table of ``source``, spread over ``cluster`` if one is named; adds its empty table to ``binder``.

    SourceError where a column has no ``data_type``, an option is unknown or names no column.
    """
    options = source.options
    # Its columns first: what reads a source with a wrong option can be looked at all the same.
    columns = _columns(source, binder)
    _check_options(source)
    if not re.fullmatch(r"[\w. -]+", source.name):
        raise _wrong(source, "its name can't be that of a folder in the lake", "use letters, digits and underscores")
    name = re.sub(r"\W", "_", source.name.replace(".", "__"), flags=re.ASCII)
    expiry = _expiry(source, columns)
    return SourceSpec(
        name=source.name,
        unique_id=source.unique_id,
        landing=f"{database}_raw.{name}",
        quarantine=f"{database}_raw.{name}__quarantine",
        batch=source.relation.sql("duckdb"),
        columns=columns,
        not_null=tuple(sorted({*source.not_null, *_names(options, "key"), *_names(options, "version")})),
        mode=options.get("mode", "append"),
        key=_names(options, "key"),
        version=options.get("version", ""),
        deleted=options.get("deleted", ""),
        event_time=options.get("event_time", ""),
        order_by=_names(options, "order_by") or _names(options, "event_time"),
        partition_by=expiry.partition_by,
        ttl=expiry.ttl,
        whole_parts=expiry.whole_parts,
        lifetime=expiry.lifetime,
        indexes=_indexes(source, columns),
        kafka=_kafka(source),
        description=source.description,
        shards=Shards(cluster, _shard_by(source, columns)) if cluster else msgspec.UNSET,
    )


def _shard_by(source: Source, columns: tuple[Column, ...]) -> tuple[str, ...]:
    """The columns whose hash names a row's shard: as declared, else the key. SourceError where equal values may have
    several hashes, so that versions of one key would be on several shards."""
    if source.options.get("kafka"):
        raise _wrong(
            source, "kafka on a cluster", "send the topic's messages over HTTP, or use a server that stands alone"
        )
    key, given = _names(source.options, "key"), _names(source.options, "shard_by")
    outside = [name for name in given if key and name not in key]
    if outside:
        raise _wrong(
            source,
            f"shard_by names {', '.join(outside)}, which is no part of the key",
            "the rows of one key must be on one shard: name columns of the key, or drop shard_by",
        )
    if not given and not key:
        remedy = "name columns of many values, as those by which models group: `shard_by: user_id`"
        raise _wrong(source, "no shard_by, by which its rows are spread over the cluster", remedy)
    for column in columns:
        if key and column.name in (given or key) and duck_type(column.type).kind is Kind.FLOAT:
            raise _wrong(
                source, f"key column {column.name} is {column.type}, on a cluster", "declare it DECIMAL or VARCHAR"
            )
    return given or key


def _columns(source: Source, binder: Binder) -> tuple[Column, ...]:
    typed = source.typed_columns()
    try:
        binder.add_table(source.relation, typed)
        bound = binder.describe(f"SELECT * FROM {source.relation.sql('duckdb')}")
        for name, kind in bound:
            _check_sendable(source, name, kind)
        return tuple(Column(n, t.name, _base(n, t), source.descriptions.get(n, "")) for n, t in bound)
    except RefusedError as error:
        raise _wrong(
            source, error.message, "declare each column with a DuckDB type, as in `data_type: timestamp`"
        ) from None


def _check_sendable(source: Source, name: str, kind: DuckType) -> None:
    """SourceError where no event can carry a value of ``kind``: events are JSON, or are read as it is."""
    inner = [t for _, t in kind.fields] + ([kind.element] if kind.element is not None else [])
    if kind.kind is Kind.BLOB:
        remedy = "declare it as varchar and send hexadecimal digits or base64"
        raise _wrong(source, f"column {name} holds BLOBs, which no event can carry", remedy)
    if kind.kind is Kind.ARRAY and kind.item.name != "FLOAT":
        raise _wrong(source, f"column {name} is {kind}: vectors hold FLOATs", f"declare it FLOAT[{kind.size}]")
    if any(each.kind is Kind.ARRAY for each in inner):
        raise _wrong(source, f"column {name} is {kind}, with a vector in it", "give the vector a column of its own")
    if kind.kind is Kind.MAP and kind.fields[0][1].kind is not Kind.TEXT:
        remedy = f"declare the key as varchar, as in MAP(VARCHAR, {kind.item}), or a list of structs"
        raise _wrong(source, f"column {name} holds {kind}, but the names in a JSON object are text", remedy)
    for each in inner:
        _check_sendable(source, name, each)


def _base(name: str, found: DuckType) -> str:
    try:
        return found.base
    except RefusedError:
        raise RefusedError(f"column {name} is {found}, for which ClickHouse has no type") from None


def _check_options(source: Source) -> None:
    for hidden in HIDDEN:
        if hidden in source.columns:
            raise _wrong(source, f"{hidden} is a hidden column of landing tables", "give the column another name")
    unknown = unknown_options(source.options, _OPTIONS)
    if unknown is not None:
        raise _wrong(source, *unknown)
    mode = source.options.get("mode", "append")
    if mode not in _MODES:
        raise _wrong(source, f"mode {mode!r}", f"{nearest([str(mode)], _MODES)}mode is one of {', '.join(_MODES)}")
    if mode == "upsert" and not (source.options.get("key") and source.options.get("version")):
        raise _wrong(source, "mode upsert without key and version", "name the key columns and the version column")
    if mode == "append" and any(source.options.get(o) for o in ("key", "version", "deleted")):
        raise _wrong(source, "key, version and deleted go with mode: upsert", "add `mode: upsert` or drop them")
    for option in ("key", "version", "deleted", "event_time", "order_by", "shard_by"):
        missing = [c for c in _names(source.options, option) if c not in source.columns]
        if missing:
            declared = ", ".join(source.columns)
            raise _wrong(source, f"{option} names {', '.join(missing)}", f"declared columns are {declared}")


def _expiry(source: Source, columns: tuple[Column, ...]) -> Expiry:
    """When rows expire and how they are partitioned: as the author says, else so that whole parts expire."""
    upsert = source.options.get("mode") == "upsert"
    key, version = _names(source.options, "key"), _names(source.options, "version")
    every = [*source.columns, INGESTED_AT]
    # Versions of a key must meet in one partition, and the newest one must expire last.
    parts, times = (key, [*key, *version]) if upsert else (every, every)
    whose = "the source's columns" if not upsert else "the key's columns, by which versions of a row meet"
    timed = whose if not upsert else "the key's columns and the version"
    try:
        partition_by = hints.partitioning(source.options, parts, whose)
        ttl = hints.time_to_live(source.options, times, timed)
    except RefusedError as error:
        raise _wrong(source, error.message.removeprefix("meta.realtime."), error.remedy) from None
    expiry = _in_words(source, ttl, columns) if isinstance(ttl, Span) else Expiry(ttl)
    return Expiry(expiry.ttl, partition_by) if partition_by else expiry


def _indexes(source: Source, columns: tuple[Column, ...]) -> tuple[Index, ...]:
    """Of an upserted source only the key's columns may have one: versions of a key are left out together or not. But
    vectors may, for their index only gives keys to look at."""
    upsert = source.options.get("mode") == "upsert"
    key = _names(source.options, "key")
    kinds = {c.name: duck_type(c.type).kind for c in columns if not upsert or c.name in key}
    try:
        vectors = {c.name: duck_type(c.type).size for c in columns if duck_type(c.type).kind is Kind.ARRAY}
        return indexes(source.options, kinds, "the key's columns" if upsert else "the source's columns", vectors)
    except RefusedError as error:
        raise _wrong(source, error.message.removeprefix("meta.realtime."), error.remedy) from None


def _in_words(source: Source, span: Span, columns: tuple[Column, ...]) -> Expiry:
    upsert = source.options.get("mode") == "upsert"
    option = "version" if upsert else "event_time"
    name = source.options.get(option, "")
    kind = next((c.type for c in columns if c.name == name), "")
    if name and duck_type(kind).kind not in _MOMENTS:
        other = " or write the ttl as an expression of ClickHouse's over it" if upsert else ""
        raise _wrong(
            source, f"ttl is {span}, but {option} {name} is {kind}", f"name a date or timestamp as `{option}`{other}"
        )
    return of_versions(span, quoted(name)) if upsert else of_landing(span, quoted(name) if name else "", INGESTED_AT)


def _kafka(source: Source) -> Kafka | None:
    """The topic that ``source`` names, if it does; SourceError where that is not whole."""
    given = source.options.get("kafka")
    if given is None:
        return None
    example = "name brokers, topic and group, as in `kafka: {brokers: 'host:9092', topic: orders, group: duet}`"
    if not isinstance(given, Mapping):
        raise _wrong(source, f"kafka is {given!r}", example)
    brokers = given.get("brokers")
    options = {**given, "brokers": ",".join(brokers) if isinstance(brokers, list) else brokers}
    if "password" in options:
        raise _wrong(
            source, "kafka has a password", "name the environment variable that holds it: password_env: KAFKA_PASSWORD"
        )
    missing = [name for name in ("brokers", "topic", "group") if not options.get(name)]
    wrong = [n for n, value in options.items() if n not in missing and not isinstance(value, _TOPIC.get(n, ()))]
    if missing or wrong:
        what = (
            f"lacks {', '.join(missing)}" if missing else f"has {', '.join(map(str, wrong))}, which is not understood"
        )
        raise _wrong(source, f"kafka {what}", example)
    if options.get("format", "json") != "json":
        raise _wrong(source, f"kafka has format {options['format']!r}", "messages are JSON objects: format: json")
    if options.get("consumers", 1) < 1:
        raise _wrong(source, "kafka has no consumers", "name 1, or up to as many as the topic has partitions")
    _check_password(source, options)
    return Kafka(**{name: value for name, value in options.items() if name != "format"})


def _check_password(source: Source, options: Mapping[str, Any]) -> None:
    protocol = options.get("security_protocol", "plaintext")
    if protocol not in _PROTOCOLS:
        raise _wrong(source, f"kafka has security_protocol {protocol!r}", f"name one of {', '.join(_PROTOCOLS)}")
    needed = ("sasl_mechanism", "username", "password_env")
    lacking = [name for name in needed if bool(options.get(name)) != _PROTOCOLS[protocol]]
    if lacking:
        verb = "lacks" if _PROTOCOLS[protocol] else "has"
        raise _wrong(
            source,
            f"kafka {verb} {', '.join(lacking)} with security_protocol {protocol}",
            "a password takes security_protocol: sasl_ssl, sasl_mechanism, username and password_env, the name of the "
            "environment variable that holds it",
        )
    if _PROTOCOLS[protocol] and options["sasl_mechanism"] not in _MECHANISMS:
        given = options["sasl_mechanism"]
        raise _wrong(source, f"kafka has sasl_mechanism {given!r}", f"name one of {', '.join(_MECHANISMS)}")


def _wrong(source: Source, what: str, remedy: str) -> SourceError:
    where = f"source {source.name} ({source.path})"
    return SourceError(f"{where}: {what}", remedy=remedy, source=source.name, file=source.path)


def _names(options: Mapping[str, Any], option: str) -> tuple[str, ...]:
    given = options.get(option) or ()
    names: Iterable[str] = [given] if isinstance(given, str) else given
    return tuple(names)
