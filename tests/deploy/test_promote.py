"""Swapping read views under a reader that never stops."""

from __future__ import annotations

from realtime.deploy.promote import settle, stage_views, swap_to_staging
from tests.deploy.conftest import MODELS, RENAMED, Load, Site, batch_per_room, fill, project

ROUNDS = 12


def test_no_reader_meets_a_hole_or_a_mix_of_versions(site: Site) -> None:
    versions = [site.compile(project(models)) for models in (MODELS, RENAMED)]
    for plan in versions:
        fill(site, plan)
        stage_views(site.settings, site.client, plan)
    site.insert(0, 10)
    settle(site.client, versions[0])
    with Load(site, first=10, pause=0.001) as load:
        for turn in range(1, ROUNDS):
            swap_to_staging(site.client, versions[turn % 2])
            settle(site.client, versions[turn % 2])
    assert load.errors == []
    assert load.reads > ROUNDS
    assert site.rows("SELECT room, n, total FROM {db}.per_room ORDER BY room") == batch_per_room(load.inserted)
