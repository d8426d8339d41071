"""Plans the models of a large project in two processes, into the cache, before they are asked for one by one.

What a model becomes does not depend on who plans it, so that a plan made of these entries is the one that a single
process makes. What is refused has no entry: who makes the plan looks at it again, and says why.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
from multiprocessing.connection import Connection

from realtime.cache import Cache
from realtime.planner.planner import Planner, open_planner
from realtime.project.manifest import Model, Project

WORTH = 60
"""With fewer models to plan a second process costs more than it takes over."""
Share = tuple[list[Model], list[Model]]
"""Models for either process; they read no other of the same share."""


def plan_ahead(project: Project, database: str, cache: Cache) -> None:
    """Puts the steps of the models that ``cache`` lacks into it, as far as they can be planned."""
    if len(project.models) < WORTH or (os.cpu_count() or 1) < 2:
        return
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    gc.freeze()  # Both processes share what is there now; a collection would write to it, and that copies it.
    usual = gc.get_threshold()
    gc.set_threshold(20_000, 50, 1000)  # 6 % faster, and 30 MiB more
    other = context.Process(target=_help, args=(project, database, cache, theirs, ours), daemon=True)
    other.start()
    theirs.close()
    # Where the other process ends too early, who makes the plan does the rest.
    with contextlib.suppress(EOFError, OSError):
        _take_turns(open_planner(project, database, cache), ours, 0)
    ours.close()
    other.join()
    gc.set_threshold(*usual)
    gc.unfreeze()


def _help(project: Project, database: str, cache: Cache, ours: Connection, theirs: Connection) -> None:
    """The other process. It reports nothing: what goes wrong here goes wrong where the plan is made, too."""
    theirs.close()
    with contextlib.suppress(Exception, KeyboardInterrupt):
        _take_turns(open_planner(project, database, cache), ours, 1)


def _take_turns(planner: Planner, pipe: Connection, side: int) -> None:
    for share in _shares(planner):
        for model in share[side]:
            planner.add(model)
        found = planner.entries(share[side])
        # One of them listens first: a pipe holds less than a share.
        if side:
            pipe.send(found)
        entries = pipe.recv()
        if not side:
            pipe.send(found)
        planner.learn(share[1 - side], entries)


def _shares(planner: Planner) -> list[Share]:
    """The models that the cache lacks by how deep they lie in the project, either half about equally long; none where
    they are few. Both processes find the same ones."""
    project = planner.project
    missing = [m for m in project.realtime_models() if not planner.recalled(m)]
    if len(missing) < WORTH:
        return []
    depth: dict[str, int] = {}
    for model in project.ordered():
        depth[model.unique_id] = max((depth[u] + 1 for u in model.depends_on if u in depth), default=0)
    levels: dict[int, list[Model]] = {}
    for model in sorted(missing, key=lambda m: (depth[m.unique_id], -len(m.sql), m.unique_id)):
        levels.setdefault(depth[model.unique_id], []).append(model)
    return [(level[::2], level[1::2]) for level in levels.values()]
