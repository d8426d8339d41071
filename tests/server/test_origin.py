"""Other web pages are kept out, and nobody but this machine is let in."""

from __future__ import annotations

import pytest

from realtime.errors import ConfigError
from realtime.server.origin import check_host
from tests.server.running import Running


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://{host}"}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Origin": "https://elsewhere.test"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "elsewhere.test"}, 403),
    ],
)
def test_only_its_own_pages(served: Running, headers: dict[str, str], status: int) -> None:
    own = f"127.0.0.1:{served.port}"
    answer = served.ask("/healthz", headers={name: value.format(host=own) for name, value in headers.items()})
    assert answer.status == status
    if status == 403:
        assert answer.error["code"] == "forbidden"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_loopback(host: str) -> None:
    check_host(host, 0)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "elsewhere.test"])
def test_other_interfaces(host: str) -> None:
    with pytest.raises(ConfigError, match="which others can reach"):
        check_host(host, 0)
    check_host(host, 1)
