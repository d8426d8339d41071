"""``/console``, a page for people, and what it reads: models, sources, traffic, a lambda's definition."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from realtime.deploy.freshness import Fresh
from realtime.deploy.promote import rendered
from realtime.emit.ddl import create_published, refresh_ddl, state_ddl
from realtime.emit.landing import landing_ddl
from realtime.errors import NotFoundError
from realtime.planner.call_options import in_words
from realtime.planner.ir import Column, Plan, SourceSpec, Step
from realtime.server.observed import Observed, Rows, table_name
from realtime.server.openapi import is_needed
from realtime.server.schema import parameter_schema
from realtime.serving.parameters import nearest
from realtime.serving.registry import Catalog, Entry

_FILES: Mapping[str, bytes] = {f.name: f.read_bytes() for f in (Path(__file__).parents[1] / "console").iterdir()}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


async def page(request: Request) -> Response:
    """The page; it holds nothing of the project."""
    return _file("console.html")


async def file(request: Request) -> Response:
    """A script or style of the page."""
    return _file(request.path_params["file"])


async def models(request: Request) -> Response:
    """Every model: how it is kept and why, what it reads, its columns, rows and age."""
    plan, observed = _plan(request), _observed(request)
    sizes, ages = await observed.sizes(), await observed.ages(plan)
    found = [_model(step, sizes, ages.get(step.model)) for step in plan.steps]
    about = {"project": plan.project, "plan": request.state.registry.plan_id, "deployed": await observed.deployed()}
    return _json({**about, "models": found})


async def model(request: Request) -> Response:
    """The SQL of one model: its read view, and the tables and views that keep it."""
    plan, name = _plan(request), request.path_params["name"]
    step = next((s for s in plan.steps if s.model == name), None)
    if step is None:
        known = [s.model for s in plan.steps]
        raise NotFoundError(f"there is no model {name[:80]}", remedy=nearest(name, known, "the models are"))
    ddl = [statement for state in step.states for statement in state_ddl(state)]
    ddl += refresh_ddl(step.refresh) if step.refresh is not None else []
    ddl += [create_published(step.published, step.columns)] if step.published is not None else []
    return _json({"name": name, "select": rendered(step, plan.database, plan.database), "ddl": ddl})


async def sources(request: Request) -> Response:
    """Every source: its columns, rows, rows per minute in the last hour, and what waits in quarantine, and why."""
    plan, observed = _plan(request), _observed(request)
    sizes, rates = await observed.sizes(), await observed.rates(plan.sources)
    waiting, newest = await observed.quarantined(plan.sources)
    found = [
        {
            **_source(source, sizes),
            "minutes": _of(rates, source.landing),
            "quarantine": {"waiting": _of(waiting, source.quarantine), "newest": _of(newest, source.quarantine)},
        }
        for source in plan.sources
    ]
    return _json({"sources": found})


async def traffic(request: Request) -> Response:
    """Calls of the last day."""
    return _json(await _observed(request).traffic())


async def definition(request: Request) -> Response:
    """One lambda version (the latest, unless ``?version=`` says): parameters, columns, SQL, versions and tags."""
    catalog: Catalog = request.state.registry.catalog
    entry = catalog.find(request.path_params["name"], request.query_params.get("version", ""))
    name, spec = entry.spec.name, entry.spec
    since = {row["version"]: row["since"] for row in await _observed(request).versions() or () if row["name"] == name}
    latest = catalog.latest.get(name)
    found = {
        "name": name,
        "version": spec.version,
        "latest": latest.spec.version if latest else None,
        "description": spec.description,
        "parameters": _parameters(entry),
        "columns": _columns(spec.columns),
        "calls": in_words(spec),
        "paged": spec.paging is not None,
        "examples": spec.examples,
        "depends_on": spec.depends_on,
        "clickhouse": (spec.nearest or spec.together or spec.direct or spec).select,
        "duckdb": spec.batch,
        "together": "" if entry.keyed is not None else spec.alone,
        "versions": [{"version": v, "deployed": since.get(v)} for v in catalog.versions[name]],
        "tags": list(catalog.tags.get(name, {}).values()),
    }
    return _json(found)


def _parameters(entry: Entry) -> list[dict[str, Any]]:
    return [
        {
            "name": p.param.name,
            "type": p.param.type,
            "required": is_needed(p),
            "description": p.param.description,
            "expected": p.expected,
            "schema": parameter_schema(p),
        }
        for p in entry.signature.parameters.values()
    ]


def _model(step: Step, sizes: Mapping[str, Mapping[str, Any]], age: Fresh | None) -> dict[str, Any]:
    kept = [table.relation for table in (*step.states, step.refresh, step.published) if table is not None]
    return {
        "name": step.model,
        "shape": step.shape,
        "why": step.why,
        "remedy": step.remedy,
        "description": step.description,
        "relation": step.relation,
        "depends_on": step.depends_on,
        "keys": step.keys,
        "columns": _columns(step.columns),
        "kept": [sizes.get(r.replace("`", ""), {"relation": r, "rows": None, "bytes": None}) for r in kept],
        "every": step.refresh.every.lower() if step.refresh else "",
        "as_of": age.as_of.timestamp() if age and age.as_of else None,
        "due": age.due.timestamp() if age and age.due else None,
        "problem": age.problem if age else "",
    }


def _source(source: SourceSpec, sizes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    size = sizes.get(source.landing.replace("`", ""), {})
    return {
        "name": source.name,
        "description": source.description,
        "mode": source.mode,
        "key": source.key,
        "topic": source.kafka.topic if source.kafka else "",
        "columns": [{**c, "required": c["name"] in source.not_null} for c in _columns(source.columns)],
        "rows": size.get("rows"),
        "bytes": size.get("bytes"),
        "ddl": landing_ddl(source),
    }


def _columns(columns: tuple[Column, ...]) -> list[dict[str, Any]]:
    return [{"name": c.name, "type": c.type, "description": c.description} for c in columns]


def _of(rows: Rows | None, relation: str) -> Rows | None:
    name = table_name(relation)
    return None if rows is None else [row for row in rows if row["name"] == name]


def _plan(request: Request) -> Plan:
    plan: Plan | None = request.state.registry.catalog.plan
    if plan is None:
        raise NotFoundError("nothing is deployed yet", remedy="run duet deploy")
    return plan


def _observed(request: Request) -> Observed:
    found: Observed = request.state.observed
    return found


def _file(name: str) -> Response:
    if name not in _FILES:
        raise HTTPException(404)
    media = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(_FILES[name], media_type=media, headers=_HEADERS)


def _json(found: Any) -> Response:
    return Response(msgspec.json.encode(found, enc_hook=str), media_type="application/json")


routes = [
    Route("/console", page),
    Route("/console/{file}", file),
    Route("/v1/models", models),
    Route("/v1/models/{name}", model),
    Route("/v1/sources", sources),
    Route("/v1/traffic", traffic),
    Route("/v1/lambdas/{name}/definition", definition),
]
