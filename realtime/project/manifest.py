"""The authored project as dbt's artifacts tell it: sources, models, tests and lambdas."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlglot import exp

from realtime.errors import ConfigError, SourceError
from realtime.project.binder import table

PARAM_MARK = "duet.param "
"""Begins the comment in which the macros say what a parameter is."""
_MODELS = ("model", "seed", "snapshot")


@dataclasses.dataclass(frozen=True)
class Source:
    """A dbt source table. ``columns`` maps names to DuckDB types as declared (empty where missing)."""

    unique_id: str
    name: str
    relation: exp.Table
    columns: Mapping[str, str]
    options: Mapping[str, Any]
    not_null: tuple[str, ...]
    description: str
    descriptions: Mapping[str, str]
    path: str
    opted_in: bool = False

    def typed_columns(self) -> tuple[tuple[str, str], ...]:
        """Names and types; SourceError naming every column that lacks its ``data_type``."""
        missing = [name for name, kind in self.columns.items() if not kind]
        if missing or not self.columns:
            what = f"columns without data_type: {', '.join(missing)}" if missing else "no columns declared"
            raise SourceError(
                f"source {self.name} ({self.path}): {what}",
                remedy="declare every column of the source with its type, as in `- name: id` / `data_type: bigint`",
                source=self.name,
                file=self.path,
            )
        return tuple(self.columns.items())


@dataclasses.dataclass(frozen=True)
class Model:
    """A dbt model, Jinja resolved. ``options`` is ``meta.realtime`` (None: not opted in); ``raw`` the file's text;
    ``kind`` is model, Python model, seed or snapshot; ``types`` are those that its columns are declared with
    (empty where missing). dbt writes an ephemeral model into those that read it."""

    unique_id: str
    name: str
    sql: str
    relation: exp.Table
    depends_on: tuple[str, ...]
    options: Mapping[str, Any] | None
    description: str
    descriptions: Mapping[str, str]
    path: str
    raw: str = ""
    kind: str = "model"
    ephemeral: bool = False
    materialized: str = "view"
    types: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Test:
    """A dbt data test. ``metadata`` is None for a singular test; ``attached`` the model or source it is on."""

    unique_id: str
    name: str
    sql: str
    depends_on: tuple[str, ...]
    metadata: Mapping[str, Any] | None
    attached: str
    column: str
    config: Mapping[str, Any]
    description: str
    path: str
    raw: str = ""
    """What a singular test's author wrote; a generic one's SQL is a macro's."""

    @property
    def forbids_null(self) -> bool:
        """Whether it is ``not_null`` without any ifs."""
        name = self.metadata["name"] if self.metadata is not None else ""
        conditions = self.config.get("where") or str(self.config.get("severity", "error")).lower() != "error"
        return name == "not_null" and not conditions


@dataclasses.dataclass(frozen=True)
class Query:
    """A lambda as authored: a dbt analysis with ``meta.lambda``."""

    name: str
    sql: str
    depends_on: tuple[str, ...]
    options: Mapping[str, Any]
    description: str
    path: str
    raw: str = ""


@dataclasses.dataclass(frozen=True)
class Project:
    """Everything of the authored project that Duet reads, in dbt's order of dependency; ``cluster`` is that of its
    ClickHouse, empty where it has none. ``unmarked`` are files that look like lambdas and say nothing of it."""

    name: str
    adapter: str
    sources: Mapping[str, Source]
    models: Mapping[str, Model]
    tests: tuple[Test, ...]
    queries: tuple[Query, ...]
    cluster: str = ""
    unmarked: tuple[str, ...] = ()

    def realtime_models(self) -> list[Model]:
        """Models that opted in, each after those it reads."""
        return [m for m in self.ordered() if m.options is not None and not m.ephemeral]

    def ordered(self) -> list[Model]:
        """All models, each after those it reads."""
        done: dict[str, Model] = {}

        def visit(model: Model) -> None:
            if model.unique_id in done:
                return
            for upstream in model.depends_on:
                if upstream in self.models:
                    visit(self.models[upstream])
            done[model.unique_id] = model

        for unique_id in sorted(self.models):
            visit(self.models[unique_id])
        return list(done.values())


def read_manifest(path: Path) -> Project:
    """The project of a ``manifest.json`` that ``dbt compile`` wrote."""
    try:
        manifest = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read: {error}", remedy="run `dbt compile` (duet compile does)") from None
    root, nodes = path.parent.parent, manifest["nodes"]
    tests = tuple(
        _test(n, root) for n in nodes.values() if n["resource_type"] == "test" and n["config"].get("enabled", True)
    )
    return Project(
        name=manifest["metadata"]["project_name"],
        adapter=manifest["metadata"]["adapter_type"],
        sources={s["unique_id"]: _source(s, tests) for s in manifest["sources"].values()},
        models={n["unique_id"]: _model(n, root) for n in nodes.values() if n["resource_type"] in _MODELS},
        tests=tests,
        queries=tuple(_query(n, root) for n in nodes.values() if _is_lambda(n)),
        unmarked=tuple(_unmarked(nodes.values())),
    )


def _is_lambda(node: Mapping[str, Any]) -> bool:
    return node["resource_type"] == "analysis" and _meta(node).get("lambda", False) is not False


def _unmarked(nodes: Collection[Mapping[str, Any]]) -> Iterator[str]:
    """Analyses without ``meta.lambda`` that have parameters, or are in a folder of lambdas."""
    folders = {"realtime/lambdas", *(str(Path(n["original_file_path"]).parent) for n in nodes if _is_lambda(n))}
    for node in nodes:
        if node["resource_type"] == "analysis" and "lambda" not in _meta(node):
            path = node["original_file_path"]
            if str(Path(path).parent) in folders or PARAM_MARK in (node.get("compiled_code") or ""):
                yield path


def _meta(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """``meta`` from where dbt 1.10 and later put it, or from the top level."""
    return {**(node.get("meta") or {}), **((node.get("config") or {}).get("meta") or {})}


def _options(node: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """``meta.<key>``: a mapping, {} for ``true``, None for ``false`` or nothing."""
    given = _meta(node).get(key)
    if given is None or given is False:
        return None
    if given is True:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"{node['original_file_path']}: meta.{key} of {node['name']} is {given!r}",
            remedy=f"write `{key}: true` or a mapping of options",
        )
    return given


def _raw(node: Mapping[str, Any], root: Path) -> str:
    """The authored text. dbt strips it; the file, where it is at hand, still has its first lines."""
    stripped: str = node.get("raw_code") or ""
    file = root / node["original_file_path"]
    text = file.read_text() if file.is_file() else ""
    return text if text.strip() == stripped.strip() else stripped


def _relation(node: Mapping[str, Any]) -> exp.Table:
    name = node.get("identifier") or node.get("alias") or node["name"]
    return table(name, node["schema"], node.get("database") or "memory")


def _source(node: Mapping[str, Any], tests: tuple[Test, ...]) -> Source:
    never_null = [t for t in tests if t.attached == node["unique_id"] and t.forbids_null]
    return Source(
        unique_id=node["unique_id"],
        name=f"{node['source_name']}.{node['name']}",
        relation=_relation(node),
        columns={c["name"]: c.get("data_type") or "" for c in node["columns"].values()},
        options=_options(node, "realtime") or {},
        opted_in=_options(node, "realtime") is not None,
        not_null=tuple(sorted({t.column for t in never_null})),
        description=node.get("description") or "",
        descriptions={c["name"]: c.get("description") or "" for c in node["columns"].values()},
        path=node["original_file_path"],
    )


def _model(node: Mapping[str, Any], root: Path) -> Model:
    version = node.get("version")
    return Model(
        unique_id=node["unique_id"],
        name=node["name"] if version is None else f"{node['name']}_v{version}",
        sql=node.get("compiled_code") or node.get("raw_code") or "",
        relation=_relation(node),
        depends_on=tuple((node.get("depends_on") or {}).get("nodes") or ()),
        options=_options(node, "realtime"),
        description=node.get("description") or "",
        descriptions={c["name"]: c.get("description") or "" for c in node["columns"].values()},
        path=node["original_file_path"],
        raw=_raw(node, root),
        kind="Python model" if node.get("language") == "python" else node["resource_type"],
        ephemeral=(node.get("config") or {}).get("materialized") == "ephemeral",
        materialized=(node.get("config") or {}).get("materialized") or "view",
        types=_types(node),
    )


def _types(node: Mapping[str, Any]) -> dict[str, str]:
    """Declared types by column; dbt has those of a seed in its config too."""
    declared = {c["name"]: c.get("data_type") or "" for c in node["columns"].values()}
    return {**declared, **((node.get("config") or {}).get("column_types") or {})}


def _test(node: Mapping[str, Any], root: Path) -> Test:
    return Test(
        unique_id=node["unique_id"],
        name=node["name"],
        sql=node.get("compiled_code") or "",
        depends_on=tuple((node.get("depends_on") or {}).get("nodes") or ()),
        metadata=node.get("test_metadata"),
        attached=node.get("attached_node") or _tested_source(node),
        column=node.get("column_name") or "",
        config=node["config"],
        description=node.get("description") or "",
        path=node["original_file_path"],
        raw=_raw(node, root) if node.get("test_metadata") is None else "",
    )


def _tested_source(node: Mapping[str, Any]) -> str:
    """The source that a generic test is on: dbt names it only in the test's ``model`` argument."""
    argument = ((node.get("test_metadata") or {}).get("kwargs") or {}).get("model") or ""
    for unique_id in node["depends_on"]["nodes"]:
        kind, *_, group, name = unique_id.split(".")
        if kind == "source" and f"source('{group}', '{name}')" in argument:
            return str(unique_id)
    return ""


def _query(node: Mapping[str, Any], root: Path) -> Query:
    return Query(
        name=node["name"],
        sql=node.get("compiled_code") or "",
        depends_on=tuple((node.get("depends_on") or {}).get("nodes") or ()),
        options=_options(node, "lambda") or {},
        description=node.get("description") or "",
        path=node["original_file_path"],
        raw=_raw(node, root),
    )
