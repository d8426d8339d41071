"""One cluster for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clusters.servers import Cluster, cluster


@pytest.fixture(scope="session")
def two_shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two shards that nothing else uses."""
    with cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found
