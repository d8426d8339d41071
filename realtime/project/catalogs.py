"""A DuckDB database that is called like one of its schemas."""

from __future__ import annotations

from realtime.errors import ConfigError
from realtime.project.manifest import Project


def check_database(project: Project) -> None:
    """ConfigError where DuckDB can't make a view of the project: it takes the schema of what the view reads for the
    database of the same name, though both are written out (measured on DuckDB 2.0.0)."""
    for model in project.models.values():
        database = model.relation.catalog.lower()
        if project.adapter != "duckdb" or model.materialized != "view" or model.kind != "model" or model.ephemeral:
            continue
        read = (project.models.get(u) or project.sources.get(u) for u in model.depends_on)
        for found in (node.relation for node in read if node is not None):
            if found.catalog.lower() == found.db.lower() == database:
                raise ConfigError(
                    f"the batch database and its schema are both called {found.db}: DuckDB can't make the view "
                    f"{model.name} ({model.path}), which reads {found.db}.{found.name}",
                    remedy="name the file in the profile's `path` otherwise, as in "
                    f"`path: {found.db}_warehouse.duckdb`",
                )
