"""What is refused so far, and what waits for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from realtime.dialects.translate import to_duckdb
from realtime.errors import DuetError, RefusedError, WaitingError
from realtime.project.binder import Binder
from realtime.project.lines import UNFORESEEN, refusals_of
from realtime.project.manifest import Model, Project, Query, Source

Node = Model | Source

_NO_FORM = "see docs/sql.md"
_PUBLISH = "let batch compute the model and copy it: `mode: published` (docs/shapes.md)"


class Refused:
    """Refusals in the order in which they were found. ``binder`` learns the columns of what is not kept, where DuckDB
    knows them, so that what reads it is compiled for its own refusals all the same."""

    def __init__(self, project: Project, binder: Binder) -> None:
        self.refusals: list[DuetError] = []
        self._project, self._binder = project, binder
        self._own: set[tuple[str, str]] = set()
        """Path and name of what has refusals of its own."""
        self._waits: dict[str, frozenset[str]] = {}
        """By unique id: what a model that is not kept waits for; itself where it is refused."""
        self._declared: dict[str, bool] = {}
        """Whether DuckDB knows the columns of something that is not kept."""

    @contextlib.contextmanager
    def noting(self, of: Model | Query) -> Iterator[None]:
        """Notes refusals of ``of``, with their places in its file, and goes on."""
        try:
            yield
        except (RefusedError, *UNFORESEEN) as error:
            found = refusals_of(error, of, self._project.name)
            for refusal in found:
                if isinstance(of, Model) and refusal.remedy.startswith(_NO_FORM):
                    refusal.remedy += f"; or {_PUBLISH}"
            self.refusals += found
            self._own.add((of.path, of.name))

    def is_refused(self, of: Model | Query) -> bool:
        """Whether ``of`` has refusals of its own."""
        return (of.path, of.name) in self._own

    def add_source(self, source: Source, error: DuetError, *, typed: bool) -> None:
        """Notes a source that can't be taken; ``typed`` says that DuckDB knows its columns."""
        self.refusals.append(error)
        self._waits[source.unique_id] = frozenset({f"source {source.name} ({source.path})"})
        self._declared[source.unique_id] = typed

    def add(self, of: Model | Query, reads: Iterable[Node]) -> None:
        """Notes that ``of``, which ``reads`` these, is not kept: refused by itself, or waiting."""
        waits = self.waits_for(reads)
        if not self.is_refused(of):
            waiting = WaitingError(waits)
            waiting.project, waiting.model, waiting.file = self._project.name, of.name, of.path
            self.refusals.append(waiting)
        if isinstance(of, Model):
            self._waits[of.unique_id] = frozenset({of.path}) if self.is_refused(of) else waits

    def waits_for(self, nodes: Iterable[Node]) -> frozenset[str]:
        """What is refused among ``nodes`` and what they read."""
        return frozenset[str]().union(*(self._waits.get(n.unique_id, ()) for n in nodes))

    def declare(self, model: Model) -> None:
        """Tells DuckDB the columns of ``model``, which is not kept, if DuckDB itself finds them."""
        if model.unique_id in self._declared:
            return
        self._declared[model.unique_id] = False
        with contextlib.suppress(RefusedError, *UNFORESEEN):
            sql = model.sql
            if self._project.adapter != "duckdb":
                sql = to_duckdb(sql, self._project.adapter, self._binder).sql("duckdb")
            columns = [(name, kind.name) for name, kind in self._binder.describe(sql)]
            self._binder.add_table(model.relation, columns)
            self._declared[model.unique_id] = True

    def typed(self, nodes: Iterable[Node]) -> bool:
        """Whether DuckDB knows the columns of all ``nodes``."""
        return all(self._declared.get(n.unique_id, True) for n in nodes)
