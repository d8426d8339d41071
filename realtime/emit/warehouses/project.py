"""A project written for DuckDB as a dbt project for another warehouse: models, docs and tests, the same to the byte
on every run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import yaml
from sqlglot import exp

from realtime.cache import Cache, Digests, Memory
from realtime.emit.jinja import escaped
from realtime.emit.tests import BUILT_IN, judged_by
from realtime.emit.warehouses.translate import WAREHOUSES, readable, translate
from realtime.emit.warehouses.warehouse import Warehouse
from realtime.errors import ConfigError, DuetError, RefusedError, SourceError
from realtime.planner.refused import Refused
from realtime.planner.relations import Key, key_of, reads_only
from realtime.project.binder import Binder
from realtime.project.lines import UNFORESEEN, refusals_of
from realtime.project.manifest import Model, Project, Source, Test
from realtime.transpile.transpile import parse
from realtime.transpile.types import DuckType, duck_type

Files = dict[str, str]
Columns = Sequence[tuple[str, DuckType]]


@dataclasses.dataclass(frozen=True)
class Emitted:
    """``files`` by their path below ``target/<warehouse>/``, or what stands against them: ``refusals``.
    ``left_out`` are the author's own tests that have no exact form."""

    files: Mapping[str, str]
    models: tuple[str, ...]
    refusals: tuple[DuetError, ...]
    left_out: tuple[RefusedError, ...]


def find_warehouse(name: str) -> Warehouse:
    """The warehouse of that name; ConfigError where none is known."""
    if name not in WAREHOUSES:
        raise ConfigError(f"no target {name!r}", remedy=f"use clickhouse, {' or '.join(WAREHOUSES)}")
    return WAREHOUSES[name]


class Written(msgspec.Struct, frozen=True):
    """What a model or test became: its file, and its columns with DuckDB's types."""

    text: str
    columns: tuple[tuple[str, str], ...]


def emit(project: Project, warehouse: Warehouse, cache: Cache | None = None) -> Emitted:
    """Every model of ``project`` for ``warehouse``; all refusals are collected. ``cache`` gives what did not change
    since it was kept there, and takes the others. ConfigError where the project is not written for DuckDB."""
    if project.adapter != "duckdb":
        raise ConfigError(
            f"the project is written for {project.adapter}; only projects for DuckDB are emitted for other warehouses",
            remedy="use a profile whose default target is duckdb",
        )
    emitter = _Emitter(project, warehouse, cache)
    emitter.files["dbt_project.yml"] = _yaml(_project_file(project, warehouse))
    emitter.files["profiles.yml"] = warehouse.profile
    emitter.add_sources()
    for model in project.ordered():
        emitter.add_model(model)
    for test in sorted(project.tests, key=lambda t: t.unique_id):
        emitter.add_test(test)
    models = tuple(m.name for m in emitter.emitted.values() if isinstance(m, Model))
    return Emitted(emitter.files, models, tuple(emitter.refused.refusals), tuple(emitter.left_out))


class _Emitter:
    """What is emitted so far; upstream models first."""

    def __init__(self, project: Project, warehouse: Warehouse, cache: Cache | None) -> None:
        self.project, self.warehouse, self.binder = project, warehouse, Binder()
        self.files: Files = {}
        self.refused = Refused(project, self.binder)
        self.left_out: list[RefusedError] = []
        self.emitted: dict[str, Model | Source] = {}
        self.references: dict[Key, str] = {}
        declared = {u: [s.name, s.relation.sql("duckdb"), s.columns] for u, s in project.sources.items()}
        self._memory = Memory(cache, Digests(project, declared, warehouse.name))

    def add_sources(self) -> None:
        """Declares every source that a model reads."""
        read = {u for m in self.project.models.values() for u in m.depends_on}
        by_group: dict[str, list[Any]] = {}
        schemas: dict[str, str] = {}
        for source in (self.project.sources[u] for u in sorted(read & set(self.project.sources))):
            try:
                columns = [(n, duck_type(_canonical(self.binder, k))) for n, k in source.typed_columns()]
                group, _, name = source.name.partition(".")
                by_group.setdefault(group, []).append(self._source(source, name, columns))
                schemas[group] = source.relation.db
                self.binder.add_table(source.relation, source.typed_columns())
                self.references[key_of(source.relation)] = f"source('{group}', '{name}')"
                self.emitted[source.unique_id] = source
            except DuetError as error:
                if not isinstance(error, SourceError):
                    where = f"source {source.name} ({source.path})"
                    error = SourceError(f"{where}: {error.message}", remedy=error.remedy)
                self.refused.add_source(source, error, typed=key_of(source.relation) in self.binder.columns)
        sources = [{"name": g, "schema": schemas[g], "tables": tables} for g, tables in by_group.items()]
        if sources:
            self.files["models/_sources.yml"] = _yaml({"version": 2, "sources": sources})

    def _source(self, source: Source, name: str, columns: Columns) -> Mapping[str, Any]:
        table: dict[str, Any] = {"name": name}
        if source.relation.name != name:
            table["identifier"] = source.relation.name
        return {**table, **self._properties(source, columns)}

    def add_model(self, model: Model) -> None:
        """Emits ``model``, or notes why not. dbt wrote ephemeral ones into those that read them."""
        if model.ephemeral:
            return
        reads = list(self._nodes(model))
        with self.refused.noting(model):
            self._check(model)
        blocked = self.refused.is_refused(model) or bool(self.refused.waits_for(reads))
        if model.kind == "model" and self.refused.typed(reads):
            with self.refused.noting(model):
                if not blocked:
                    self._emit(model, self._written(model))
                    return
                translate(model.sql, self.binder, self.warehouse)
        self.refused.add(model, reads)
        self.refused.declare(model)

    def _emit(self, model: Model, written: Written) -> None:
        self.binder.add_view(model.relation, model.sql)
        self.references[key_of(model.relation)] = f"ref('{model.name}')"
        columns = [(name, duck_type(kind)) for name, kind in written.columns]
        self.files[f"models/{model.name}.sql"] = written.text
        properties = {"name": model.name, **self._properties(model, columns)}
        properties["config"] = {"materialized": "view" if model.materialized == "view" else "table"}
        self.files[f"models/{model.name}.yml"] = _yaml({"version": 2, "models": [properties]})
        self.emitted[model.unique_id] = model

    def _written(self, of: Model | Test) -> Written:
        """What a model or test becomes. RefusedError where it has no exact form."""
        kept = self._memory.find(of, Written)
        if kept is None:
            translated = translate(of.sql, self.binder, self.warehouse)
            kept = Written(self._text(translated.tree), tuple((n, t.name) for n, t in translated.columns))
            if reads_only(parse(of.sql), [node.relation for node in self._nodes(of)]):
                self._memory.keep(of, kept)
        return kept

    def _nodes(self, of: Model | Test) -> Iterator[Model | Source]:
        """What ``of`` reads, through ephemeral models too."""
        for unique_id in of.depends_on:
            model = self.project.models.get(unique_id)
            if model is not None and model.ephemeral:
                yield from self._nodes(model)
            elif model is not None or unique_id in self.project.sources:
                yield model or self.project.sources[unique_id]

    def _check(self, model: Model) -> None:
        if model.kind != "model":
            raise RefusedError(
                f"a {model.kind} has no SQL to emit", construct=model.name, remedy="declare a source for its rows"
            )
        if f"models/{model.name}.sql" in self.files:
            raise RefusedError("another model has the same name", construct=model.name, remedy="rename one of them")

    def add_test(self, test: Test) -> None:
        """Emits a test that dbt does not ship, over what is emitted only."""
        if _shipped(test) or not test.sql or not test.depends_on or not set(test.depends_on) <= set(self.emitted):
            return
        try:
            text = self._written(test).text
        except (RefusedError, *UNFORESEEN) as error:
            self.left_out += refusals_of(error, test, self.project.name)
            return
        config = ", ".join(f"{name}={value!r}" for name, value in sorted(judged_by(test).items()))
        head = f"{{{{ config({config}) }}}}\n" if config else ""
        self.files[f"tests/{test.name}.sql"] = f"{head}{text}"

    def _text(self, tree: exp.Query) -> str:
        for table in list(tree.find_all(exp.Table)):
            if key_of(table) in self.references:
                jinja = exp.to_identifier("{{ " + self.references[key_of(table)] + " }}", quoted=False)
                table.set("this", jinja)
                table.set("db", None)
                table.set("catalog", None)
        return escaped(readable(tree, self.warehouse)) + "\n"

    def _properties(self, of: Model | Source, columns: Columns) -> dict[str, Any]:
        on_it, on_columns = self._tests(of.unique_id)
        described = [self._column(n, k, of.descriptions.get(n, ""), on_columns.get(n, [])) for n, k in columns]
        properties: dict[str, Any] = {"description": escaped(of.description), "columns": described}
        return {**properties, "data_tests": on_it} if on_it else properties

    def _column(self, name: str, kind: DuckType, description: str, tests: list[Any]) -> Mapping[str, Any]:
        entry: dict[str, Any] = {"name": name}
        if self.warehouse.quotes(name):
            entry["quote"] = True
        # A source's column of a type that has no form is no error until a model reads it.
        if self.warehouse.holds(kind):
            entry["data_type"] = self.warehouse.type(kind)
        if description:
            entry["description"] = escaped(description)
        return {**entry, "data_tests": tests} if tests else entry

    def _tests(self, unique_id: str) -> tuple[list[Any], dict[str, list[Any]]]:
        on_it: list[Any] = []
        on_columns: dict[str, list[Any]] = {}
        for test in sorted(self.project.tests, key=lambda t: t.unique_id):
            if test.attached == unique_id and _shipped(test):
                (on_columns.setdefault(test.column, []) if test.column else on_it).append(_entry(test, self.warehouse))
        return on_it, on_columns


def _canonical(binder: Binder, kind: str) -> str:
    """A declared type as DuckDB prints it."""
    ((_, found),) = binder.describe(f"SELECT CAST(NULL AS {kind}) AS x")
    return found.name


def _shipped(test: Test) -> bool:
    """Whether dbt ships the test and it holds no SQL of DuckDB's."""
    metadata = test.metadata
    if metadata is None or test.config.get("where"):
        return False
    return metadata.get("namespace") in (None, "dbt") and metadata["name"] in BUILT_IN


def _entry(test: Test, warehouse: Warehouse) -> Any:
    """The test as YAML."""
    assert test.metadata is not None
    arguments = {k: v for k, v in test.metadata["kwargs"].items() if k not in ("model", "column_name")}
    if "field" in arguments and warehouse.quotes(arguments["field"]):
        arguments["field"] = f'"{arguments["field"]}"'
    body: dict[str, Any] = {"arguments": arguments} if arguments else {}
    config = judged_by(test)
    if config:
        body["config"] = config
    name: str = test.metadata["name"]
    return {name: body} if body else name


def _project_file(project: Project, warehouse: Warehouse) -> Mapping[str, Any]:
    name = f"duet_{warehouse.name}"
    return {
        "name": name,
        "version": "1.0",
        "profile": name,
        "model-paths": ["models"],
        "test-paths": ["tests"],
        "flags": {"send_anonymous_usage_stats": False},
        "vars": {"project": project.name},
    }


def _yaml(content: Mapping[str, Any]) -> str:
    text: str = yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=120)
    return text
