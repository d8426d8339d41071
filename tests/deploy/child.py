"""A deploy in a process of its own, so that it can be killed: ``python -m tests.deploy.child FOLDER HOST PORT``."""

from __future__ import annotations

import sys
from pathlib import Path

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.compile import load_plan
from realtime.deploy.apply import deploy
from realtime.settings import Settings


def say(line: str) -> None:
    """Prints at once: the test acts on it."""
    print(line, flush=True)


def main() -> None:
    """Deploys the plan that is compiled in the folder."""
    settings = Settings.load(Path(sys.argv[1]), {})
    client = ClickHouse(Endpoint(host=sys.argv[2], port=int(sys.argv[3])))
    deploy(settings, load_plan(settings), client, say)
    say("deployed")


if __name__ == "__main__":
    main()
