"""The calls that docs/lambdas.md shows run as they stand there, and answer alike."""

from __future__ import annotations

import csv
import datetime as dt
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from realtime.clients.python import python_client
from tests.example.conftest import ROOT, Example

Messages = list[tuple[dt.datetime, str]]


@pytest.fixture(scope="module")
def expected(example: Example) -> Messages:
    """The two messages that they ask for: when, and by whom."""
    moment = dt.datetime(2018, 4, 14, 14, 54, 1, 500000, dt.UTC)
    found = [
        (dt.datetime.fromisoformat(row["sent_at"]), row["message_id"], row["sender_id"])
        for row in example.rows["chat.messages"]
        if row["stream_id"] == "6f7cf9b0-f41b-4ae9-a247-4403a9d65cfd"
    ]
    newest = sorted((row for row in found if row[0] <= moment), reverse=True)[:2]
    assert len(newest) == 2
    return [(at, sender) for at, _, sender in newest]


def shown(example: Example, section: str, language: str) -> str:
    """The last block of ``language`` below the heading ``section``, with the server's port."""
    text = (ROOT / "docs" / "lambdas.md").read_text()
    below = text.split(f"### From {section}\n")[1]
    block: str = re.findall(rf"```{language}\n(.*?)```", below.split("\n### ")[0].split("\n## ")[0], re.DOTALL)[-1]
    assert "localhost:8787" in block
    return block.replace("localhost:8787", f"127.0.0.1:{example.server.port}")


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def printed(lines: list[str]) -> Messages:
    """Lines of a moment and a sender."""
    return [(dt.datetime.fromisoformat(at), sender) for at, _, sender in (line.rpartition(" ") for line in lines)]


def test_curl(example: Example, expected: Messages, tmp_path: Path) -> None:
    text = run(tmp_path, "sh", "-euc", shown(example, "curl", "sh"))
    body, end = json.JSONDecoder().raw_decode(text)
    rows, table = body["data"], text[end:].lstrip()
    assert [(dt.datetime.fromisoformat(row["sent_at"]), row["sender_id"]) for row in rows] == expected
    assert [row["sender_id"] for row in csv.DictReader(table.splitlines())] == [sender for _, sender in expected]


def test_python(example: Example, expected: Messages, tmp_path: Path) -> None:
    (tmp_path / "live.py").write_text(python_client(example.plan))
    (tmp_path / "use.py").write_text(shown(example, "Python", "python"))
    assert run(tmp_path, sys.executable, "-m", "mypy", "--strict", "--config-file=", "use.py", "live.py")
    *lines, refused = run(tmp_path, sys.executable, "use.py").splitlines()
    assert printed(lines) == expected
    assert refused == "bad_request streams"


def test_typescript(example: Example, expected: Messages, tmp_path: Path) -> None:
    (tmp_path / "use.mts").write_text(shown(example, "TypeScript", "ts"))
    compiler = ROOT / "node_modules" / "typescript" / "bin" / "tsc"
    options = ["--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom", "use.mts"]
    run(tmp_path, "node", str(compiler), *options)
    assert printed(run(tmp_path, "node", "use.mjs").splitlines()) == expected
