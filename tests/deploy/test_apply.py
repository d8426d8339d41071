"""Deploying small projects with the real dbt-clickhouse."""

from __future__ import annotations

from tests.deploy.conftest import Site, batch_per_room


def test_first_deploy(site: Site) -> None:
    site.deploy()
    site.insert(0, 20)
    assert site.per_room() == batch_per_room(20)
