"""A dbt project of any size, the same on every run: sources, staging, intermediate models, marts, reports, each with
its .yml of docs and tests. Models read up to seven layers deep, through CTE chains, joins, windows and aggregates."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import yaml

TEMPLATES = Path(__file__).parent / "templates"
# Beside Jinja's own marks, which the models themselves hold.
_JINJA = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES), variable_start_string="[[", variable_end_string="]]",
    undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
)  # fmt: skip
_SYSTEMS = ("web", "app", "shop", "desk")
_EVENTS = ("clicks", "orders", "calls", "visits")
_EVENT_COLUMNS = {
    "event_id": "varchar", "user_id": "varchar", "session_id": "varchar", "kind": "varchar", "country": "varchar",
    "quantity": "integer", "amount": "decimal(12,2)", "score": "double", "note": "varchar", "happened_at": "timestamp",
}  # fmt: skip
_ENTITY_COLUMNS = {
    "user_id": "varchar", "version": "bigint", "is_deleted": "boolean", "name": "varchar", "email": "varchar",
    "country": "varchar", "status": "varchar", "signed_up_at": "timestamp",
}  # fmt: skip
# Layer: its share of the models, and per template what each of its models reads.
_LAYERS: dict[str, tuple[int, dict[str, tuple[str, ...]]]] = {
    "intermediate": (
        160,
        {
            "by_user": ("valid",), "by_day": ("valid",), "latest": ("valid",), "sessions": ("valid",),
            "kinds": ("staging",), "combined": ("valid", "valid"), "enriched": ("valid", "active"),
        },
    ),
    "marts": (140, {"profile": ("by_user", "latest", "active"), "trend": ("by_day", "by_day")}),
    "metrics": (100, {"segments": ("profile",), "cohorts": ("profile", "profile"), "movers": ("trend",)}),
    "reports": (60, {"report": ("segments", "segments")}),
}  # fmt: skip
# Template: the columns that identify a row, or would with a unique test.
_KEYS = {
    "staging": "event_id", "valid": "event_id", "entity": "user_id", "active": "user_id", "by_user": "user_id",
    "latest": "user_id", "enriched": "event_id", "profile": "user_id", "report": "country",
}  # fmt: skip


@dataclasses.dataclass
class _Made:
    """Models so far, by template."""

    by_template: dict[str, list[str]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    grains: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.grains)


def write_project(root: Path, models: int, systems: int = len(_SYSTEMS)) -> None:
    """Writes a project of ``models`` models over ``systems`` times 5 sources to ``root``."""
    for path, text in project_files(models, systems).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def project_files(models: int, systems: int = len(_SYSTEMS)) -> dict[str, str]:
    """Path → text of every file of the project."""
    made = _Made(files=dict(_PROJECT_FILES))
    for system in _SYSTEMS[:systems]:
        made.files[f"models/staging/{system}/_{system}__sources.yml"] = _yaml(_sources(system))
        for table in _EVENTS:
            _add(made, f"staging/{system}", "staging", f"stg_{system}__{table}", (), system=system, table=table)
            _add(made, f"staging/{system}", "valid", f"stg_{system}__{table}_valid", (f"stg_{system}__{table}",))
        _add(made, f"staging/{system}", "entity", f"stg_{system}__users", (), system=system, table="users")
        _add(made, f"staging/{system}", "active", f"stg_{system}__active_users", (f"stg_{system}__users",))
    rest, shares = models - made.count, sum(share for share, _ in _LAYERS.values())
    for layer, (share, templates) in _LAYERS.items():
        wanted = rest * share // shares if layer != "reports" else models - made.count
        for number, (template, reads) in enumerate(itertools.islice(itertools.cycle(templates.items()), wanted)):
            turn = number // len(templates)
            _add(made, layer, template, f"{layer}_{template}_{turn + 1}", _chosen(made, reads, turn))
    return made.files


def _chosen(made: _Made, templates: tuple[str, ...], turn: int) -> tuple[str, ...]:
    """A model of each of ``templates``, another one each turn; no model twice, and equal grains where it matters."""
    chosen: list[str] = []
    for place, template in enumerate(templates):
        found = [m for m in made.by_template[template] if m not in chosen]
        chosen.append(found[(turn + place * (turn // len(found))) % len(found)])
    return tuple(chosen)


def _add(made: _Made, folder: str, template: str, name: str, reads: tuple[str, ...], **names: str) -> None:
    """One model and its .yml. ``number`` varies its constants, so that no two models are alike."""
    number = len(made.by_template[template])
    grains = [made.grains[r] for r in reads] or ["hour" if number % 2 else "minute"]
    made.grains[name] = grains[0]
    values: dict[str, Any] = {
        "reads": reads, "grain": grains[0], "threshold": 100 + number, "cut": f"0.{5 + number % 5}",
        "minutes": 15 + number, "limit": 1000 + number, "kind": ("view", "order", "login")[number % 3],
        "least": number, "high": 1000 + number, "days": 2 + number % 27, "most": 3 + number, **names,
    }  # fmt: skip
    made.files[f"models/{folder}/{name}.sql"] = _JINJA.get_template(f"{template}.sql").render(values)
    made.files[f"models/{folder}/{name}.yml"] = _yaml(_properties(template, name, reads))
    made.by_template[template].append(name)


def _properties(template: str, name: str, reads: tuple[str, ...]) -> dict[str, Any]:
    columns = []
    for column in _columns(template):
        entry: dict[str, Any] = {"name": column, "description": f"{column.replace('_', ' ').capitalize()} of {name}."}
        tests = list(_tests(template, column, reads))
        columns.append({**entry, "data_tests": tests} if tests else entry)
    about = f"One row per {_KEYS.get(template, 'group')}, from {', '.join(reads) or 'its source'}."
    return {"version": 2, "models": [{"name": name, "description": about, "columns": columns}]}


def _tests(template: str, column: str, reads: tuple[str, ...]) -> Iterator[Any]:
    if column == _KEYS.get(template):
        yield "not_null"
        yield "unique"
    if column == "score_band":
        yield {"accepted_values": {"arguments": {"values": ["low", "middle", "high", "unknown"]}}}
    if column == "user_id" and template in ("profile", "latest"):
        yield {"relationships": {"arguments": {"to": f"ref('{reads[0]}')", "field": "user_id"}}}
    if column in ("events", "users") and template not in _KEYS:
        yield "not_null"


def _columns(template: str) -> list[str]:
    """Names that the last select of a template lists; of a star none."""
    source, _, _ = _JINJA.loader.get_source(_JINJA, f"{template}.sql")  # type: ignore[union-attr]
    body = source.split("final as (")[1].split("    from ")[0].rstrip() + ","
    words = [line.rstrip(",").split()[-1].split(".")[-1] for line in body.splitlines() if line.endswith(",")]
    return [word for word in words if word.isidentifier()]


def _sources(system: str) -> dict[str, Any]:
    tables = [_table(system, table, _EVENT_COLUMNS, {"event_time": "happened_at"}) for table in _EVENTS]
    upsert = {"mode": "upsert", "key": "user_id", "version": "version", "deleted": "is_deleted"}
    tables.append(_table(system, "users", _ENTITY_COLUMNS, upsert))
    return {"version": 2, "sources": [{"name": system, "description": f"What {system} sends.", "tables": tables}]}


def _table(system: str, name: str, columns: dict[str, str], options: dict[str, str]) -> dict[str, Any]:
    listed: list[dict[str, Any]] = [
        {"name": n, "data_type": t, "description": f"{n.replace('_', ' ').capitalize()} as {system} sends it."}
        for n, t in columns.items()
    ]
    listed[0]["data_tests"] = ["not_null"]
    config = {"meta": {"realtime": options}}
    return {"name": name, "description": f"Rows of {name}.", "config": config, "columns": listed}


def _yaml(content: dict[str, Any]) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


_PROJECT_FILES = {
    "dbt_project.yml": _yaml(
        {
            "name": "generated",
            "profile": "generated",
            "model-paths": ["models"],
            "flags": {"send_anonymous_usage_stats": False},
            "models": {"generated": {"+meta": {"realtime": True}}},
        }
    ),
    "profiles.yml": _yaml(
        {"generated": {"target": "dev", "outputs": {"dev": {"type": "duckdb", "path": "generated.duckdb"}}}}
    ),
}
