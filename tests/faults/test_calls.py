"""ClickHouse slow, hung, cut off and killed, callers gone, versions and tags moved, all under load: no answer is wrong.

The same at random, for minutes, with an eye on memory: `soak_calls`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.faults.callers import Callers, fill, totals
from tests.faults.ground import Ground, ground
from tests.server.running import Running, until

SECONDS = 1.0
Right = dict[str, set[int]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ground, Right]]:
    """One ground for all faults, which leave it whole, and what is right."""
    with ground(tmp_path_factory.mktemp("calls"), servers=2, version_of=totals) as found:
        yield found, fill(found)


def slow(on: Ground, callers: Callers) -> None:
    """Every answer of ClickHouse comes late."""
    on.relay.slow = 0.2
    time.sleep(1.5)
    on.relay.slow = 0


def hung(on: Ground, callers: Callers) -> None:
    """Nothing gets through, and nobody is told."""
    on.relay.hanging = True
    time.sleep(1.5)
    on.relay.hanging = False


def cut(on: Ground, callers: Callers) -> None:
    """Answers are lost."""
    for _ in range(4):
        on.relay.lose = 5
        time.sleep(0.1)
    on.relay.lose = 0


def killed_clickhouse(on: Ground, callers: Callers) -> None:
    on.kill_clickhouse()


def killed_server(on: Ground, callers: Callers) -> None:
    on.kill_server(0)


def redeployed(on: Ground, callers: Callers) -> None:
    callers.redeploy()


def moved_tag(on: Ground, callers: Callers) -> None:
    callers.move_tag()


FAULTS = (slow, hung, cut, killed_clickhouse, killed_server, redeployed, moved_tag)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_under_load(site: tuple[Ground, Right], fault: Callable[[Ground, Callers], None]) -> None:
    on, right = site
    callers = Callers(on, 24, right)
    with callers.running():
        time.sleep(SECONDS / 2)
        fault(on, callers)
        until(lambda: recovered(callers), 30)
    until(lambda: all(map(idle, on.servers)))


def recovered(callers: Callers) -> bool:
    """Whether half a second passes in which calls are answered, and none with an error."""
    before = callers.statuses.copy()
    time.sleep(SECONDS / 2)
    found = callers.statuses - before
    return set(found) == {200}


def idle(server: Running) -> bool:
    """Whether it has no query in flight and nobody waiting: none was forgotten."""
    text = server.ask("/metrics").body.decode()
    return "duet_queries_in_flight 0.0" in text and "duet_queries_waiting 0.0" in text
