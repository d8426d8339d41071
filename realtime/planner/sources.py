"""dbt sources to the tables that take their rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from realtime.emit.landing import HIDDEN
from realtime.errors import RefusedError, SourceError
from realtime.planner.ir import Column, Kafka, SourceSpec
from realtime.planner.options import nearest, unknown_options
from realtime.project.binder import Binder
from realtime.project.manifest import Source
from realtime.transpile.types import DuckType

_OPTIONS = frozenset({"mode", "key", "version", "deleted", "event_time", "order_by", "partition_by", "ttl", "kafka"})
_TOPIC = {"brokers": str, "topic": str, "group": str, "format": str, "consumers": int}
_MODES = ("append", "upsert")


def plan_source(source: Source, binder: Binder, database: str) -> SourceSpec:
    """The landing table of ``source``; adds its empty table to ``binder``.

    SourceError where a column has no ``data_type``, an option is unknown or names no column.
    """
    options = source.options
    # Its columns first: what reads a source with a wrong option can be looked at all the same.
    columns = _columns(source, binder)
    _check_options(source)
    if not re.fullmatch(r"[\w. -]+", source.name):
        raise _wrong(source, "its name can't be that of a folder in the lake", "use letters, digits and underscores")
    name = re.sub(r"\W", "_", source.name.replace(".", "__"), flags=re.ASCII)
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
        partition_by=options.get("partition_by", ""),
        ttl=options.get("ttl", ""),
        kafka=_kafka(source),
        description=source.description,
    )


def _columns(source: Source, binder: Binder) -> tuple[Column, ...]:
    typed = source.typed_columns()
    try:
        binder.add_table(source.relation, typed)
        bound = binder.describe(f"SELECT * FROM {source.relation.sql('duckdb')}")
        return tuple(Column(n, t.name, _base(n, t), source.descriptions.get(n, "")) for n, t in bound)
    except RefusedError as error:
        raise _wrong(
            source, error.message, "declare each column with a DuckDB type, as in `data_type: timestamp`"
        ) from None


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
    for option in ("key", "version", "deleted", "event_time", "order_by"):
        missing = [c for c in _names(source.options, option) if c not in source.columns]
        if missing:
            declared = ", ".join(source.columns)
            raise _wrong(source, f"{option} names {', '.join(missing)}", f"declared columns are {declared}")


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
    return Kafka(**{name: value for name, value in options.items() if name != "format"})


def _wrong(source: Source, what: str, remedy: str) -> SourceError:
    where = f"source {source.name} ({source.path})"
    return SourceError(f"{where}: {what}", remedy=remedy, source=source.name, file=source.path)


def _names(options: Mapping[str, Any], option: str) -> tuple[str, ...]:
    given = options.get(option) or ()
    names: Iterable[str] = [given] if isinstance(given, str) else given
    return tuple(names)
