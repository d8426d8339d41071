"""The lambdas and sources that this server knows: what the last deploy made active, polled from ClickHouse."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

import msgspec

from realtime.errors import ConfigError, DuetError, NotFoundError, RefusedError
from realtime.planner.ir import Keyed, LambdaSpec, Plan, plan_id, streams_digest
from realtime.serving import tags, tokens
from realtime.serving.answers import meta
from realtime.serving.parameters import Signature, nearest
from realtime.serving.tags import Tag
from realtime.serving.tokens import Keyring
from realtime.serving.upstream import RefusedQueryError, Upstream

_LOG = logging.getLogger("duet.registry")
_EVERY = 1.0
_MISSING = {60, 81}  # UNKNOWN_TABLE, UNKNOWN_DATABASE: nothing was deployed yet
_MARK = """
SELECT (SELECT argMax(id, (at, id)) FROM {database:Identifier}.deployments),
       (SELECT (count(), max(at)) FROM {database:Identifier}.lambdas),
       (SELECT (count(), max(at)) FROM {database:Identifier}.states)
FORMAT TSV
"""
_COMPLETE = "SELECT relation FROM {database:Identifier}.states FINAL WHERE phase = 'complete' FORMAT TSVRaw"
_PLAN = "SELECT plan FROM {database:Identifier}.deployments ORDER BY at DESC, id DESC LIMIT 1 FORMAT RawBLOB"
_TAGGED = "SELECT (count(), max(at)) FROM {database:Identifier}.tags FORMAT TSV"
_TOKENS = "SELECT (count(), max(at)) FROM {database:Identifier}.tokens FORMAT TSV"
_SPECS = "SELECT spec FROM {database:Identifier}.lambdas FINAL ORDER BY at, name, version FORMAT TSVRaw"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One lambda version, ready to be called. ``one`` are its queries for one call, ``many`` those for many keys, as
    ``keyed`` says (none where it has no such form): all answer the same (but an approximate one), and where the first
    can't be computed the next one tells. ``views`` answers the same from read views, whatever is deployed; None where
    it is this one that does."""

    spec: LambdaSpec
    signature: Signature
    meta: bytes
    one: tuple[bytes, ...]
    many: tuple[bytes, ...] = ()
    keyed: Keyed | None = None
    views: Entry | None = None
    after: tuple[bytes, ...] = ()
    """The queries for a page after the first; none where it answers in no pages."""

    @classmethod
    def of(cls, spec: LambdaSpec, *, windowed: bool = False) -> Entry:
        """``windowed`` lets states answer. ConfigError where a parameter's declaration contradicts itself."""
        one, many = [spec.select], [spec.keyed.select] if spec.keyed is not None else []
        if windowed and spec.window is not None:
            one.insert(0, spec.window.select)
            many[:0] = [spec.window.keyed] if spec.window.keyed else []
        if spec.nearest is not None:
            one.insert(0, spec.nearest.select)
        after = [spec.paging.after] if spec.paging is not None else []
        if windowed and spec.window is not None and spec.window.after:
            after.insert(0, spec.window.after)
        first, second, later = (tuple(text.encode() for text in texts) for texts in (one, many, after))
        views = cls(spec, Signature.of(spec), meta(spec), first, second, spec.keyed, after=later)
        if spec.direct is not None:
            alone, together, pages = (t.encode() for t in (spec.direct.select, spec.direct.keyed, spec.direct.after))
            many_keys = (*second[:-1], together) if second else ()
            one_page = (*later[:-1], pages) if later and pages else later
            return dataclasses.replace(views, one=(*first[:-1], alone), many=many_keys, views=views, after=one_page)
        if spec.together is None:
            return views
        keyed, one_key = spec.together.keyed, (spec.together.select.encode(),)
        keys = (keyed.select.encode(),) if keyed is not None else ()
        return dataclasses.replace(views, one=one_key, many=keys, keyed=keyed, views=views)


@dataclasses.dataclass(frozen=True)
class Catalog:
    """A moment's lambdas: ``latest`` by name, and every version by name and version, oldest first."""

    plan: Plan | None = None
    latest: Mapping[str, Entry] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, Mapping[str, Entry]] = dataclasses.field(default_factory=dict)
    tags: Mapping[str, Mapping[str, Tag]] = dataclasses.field(default_factory=dict)

    def tagged(self, name: str, tag: str, key: str = "") -> Entry:
        """The version that ``tag`` points to, by its weights and ``key`` (see `Tag.pick`). NotFoundError names what
        exists."""
        found = self.tags.get(name, {}).get(tag)
        if found is None:
            self.find(name)
            known = ", ".join(sorted(self.tags.get(name, {}))) or "none"
            raise NotFoundError(
                f"lambda {name} has no tag {tag[:80]}",
                remedy=f"its tags are {known}; /v1/lambdas/{name} is the latest version",
            )
        return self.find(name, found.pick(key))

    def find(self, name: str, version: str = "") -> Entry:
        """The version of lambda ``name``; without ``version``, the latest. NotFoundError names what exists."""
        if not version:
            found = self.latest.get(name)
            if found is not None:
                return found
        known = self.versions.get(name)
        if known is None:
            raise NotFoundError(f"there is no lambda {name[:80]}", remedy=nearest(name, self.latest, "the lambdas are"))
        if not version:
            raise NotFoundError(f"lambda {name} is not deployed any more", remedy=_versions(known))
        if version not in known:
            raise NotFoundError(f"lambda {name} has no version {version[:80]}", remedy=_versions(known))
        return known[version]


class Registry:
    """Keeps `catalog` up to date; ``changed`` is awaited with each new plan.

    `problem` is empty, or says why the last refresh failed; `plan_id` names the plan that all of the server works by.
    """

    def __init__(self, upstream: Upstream, database: str, changed: Callable[[Plan | None], Awaitable[None]]) -> None:
        self.catalog = Catalog()
        self.keyring = Keyring()
        self.problem = "not asked yet"
        self.refreshed = 0.0
        self.plan_id = ""
        self._upstream = upstream
        self._changed = changed
        self._mark = b""
        self._tokens = b""
        self._told: Plan | None = None
        self._database = {"database": f"{database}_duet"}

    async def poll(self) -> None:
        """Refreshes each second, for ever."""
        while True:
            await asyncio.sleep(_EVERY)
            try:
                await self.refresh()
            except Exception:  # whatever it is, the server must not stay with what it knows for ever
                _LOG.exception("the registry's refresh failed")

    async def refresh(self) -> None:
        """Reads what changed. What can't be read stays as it was, and `problem` says why."""
        problem = ""
        try:
            await self._refresh()
            self.refreshed = time.monotonic()
        except DuetError as error:
            problem = error.message
        except (RefusedQueryError, msgspec.DecodeError) as error:
            _LOG.error("the registry can't be read", extra={"fields": {"error": str(error)}})
            problem = "what is deployed can't be read"
        if problem != self.problem:
            _LOG.info("registry", extra={"fields": {"problem": problem, "lambdas": len(self.catalog.latest)}})
        self.problem = problem

    async def _refresh(self) -> None:
        known = await self._read(_TOKENS)
        if known != self._tokens:
            rows = (await self._read(tokens.CURRENT)).splitlines()
            self.keyring, self._tokens = Keyring.of(rows, self.keyring), known
        mark = await self._read(_MARK) + await self._read(_TAGGED)
        if mark == self._mark:
            return
        tagged: dict[str, dict[str, Tag]] = {}
        for line in (await self._read(tags.CURRENT)).splitlines():
            tag = msgspec.json.decode(line, type=Tag)
            tagged.setdefault(tag.name, {})[tag.tag] = tag
        complete = frozenset((await self._read(_COMPLETE)).decode().splitlines())
        self.catalog = self._catalog(await self._read(_PLAN), await self._read(_SPECS), tagged, complete)
        plan = self.catalog.plan
        if plan != self._told:
            await self._changed(plan)
            self._told = plan
            self.plan_id = plan_id(plan) if plan else ""
        self._mark = mark

    async def _read(self, sql: str) -> bytes:
        """Empty where nothing was deployed yet."""
        try:
            return await self._upstream.read(sql, self._database)
        except RefusedQueryError as error:
            if error.code in _MISSING:
                return b""
            raise

    def _catalog(
        self, plan: bytes, specs: bytes, tagged: Mapping[str, Mapping[str, Tag]], complete: frozenset[str]
    ) -> Catalog:
        active = msgspec.json.decode(plan, type=Plan) if plan else None
        deployed = active.lambdas if active else ()
        versions: dict[str, dict[str, Entry]] = {}
        for spec in (*_specs(specs.splitlines()), *deployed):
            entry = self._entry(spec, windowed=spec in deployed and holds(spec, active, complete))
            if entry is not None:
                versions.setdefault(spec.name, {})[spec.version] = entry
        latest = {s.name: versions[s.name][s.version] for s in deployed if s.version in versions.get(s.name, {})}
        return Catalog(active, dict(sorted(latest.items())), versions, tagged)

    def _entry(self, spec: LambdaSpec, *, windowed: bool) -> Entry | None:
        known = self.catalog.versions.get(spec.name, {}).get(spec.version)
        try:
            found = Entry.of(spec, windowed=windowed)
            return known if known == found else found
        except (ConfigError, RefusedError) as error:
            _LOG.error("lambda left out", extra={"fields": {"lambda": spec.name, "error": str(error)}})
            return None


def holds(spec: LambdaSpec, active: Plan | None, complete: Collection[str]) -> bool:
    """Whether the window of ``spec`` answers as its own query does while ``active`` is: its states are there with all
    rows, as those in ``complete``, and the streams are those that it was made for."""
    if spec.window is None or active is None:
        return False
    there = {state.relation for step in active.steps for state in step.states} & set(complete)
    return set(spec.window.states) <= there and spec.window.streams == streams_digest(active, spec)


def _specs(lines: Iterable[bytes]) -> list[LambdaSpec]:
    """Those that this release can read: a version that an older one deployed may have another form."""
    found = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=LambdaSpec))
        except msgspec.DecodeError as error:
            _LOG.error("lambda version left out", extra={"fields": {"error": str(error)}})
    return found


def _versions(known: Mapping[str, Entry]) -> str:
    return f"its versions are {', '.join(list(known)[-20:])}"
