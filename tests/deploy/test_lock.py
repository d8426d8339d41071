"""One deploy at a time."""

from __future__ import annotations

import time

import pytest

from realtime.deploy.lock import Lock, exclusive
from realtime.errors import BusyError, UnavailableError
from tests.deploy.conftest import Site


def test_the_second_is_refused_and_the_third_gets_it(site: Site) -> None:
    with exclusive(site.client, site.database) as lock:
        lock.check()
        with pytest.raises(BusyError, match=site.database), exclusive(site.client, site.database, patience=0.1):
            pass
        with exclusive(site.client, f"{site.database}_other"):
            pass
    with exclusive(site.client, site.database, patience=1):
        pass


def test_a_lock_that_the_server_ended_is_noticed(site: Site) -> None:
    with exclusive(site.client, site.database) as lock:
        site.client.execute(f"KILL QUERY WHERE query_id = '{lock.query_id}' SYNC")
        with pytest.raises(UnavailableError, match="lost"):
            _check_for(lock, 5)


def _check_for(lock: Lock, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        lock.check()
        time.sleep(0.02)
