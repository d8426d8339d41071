"""The server's log: one JSON object a line, on stdout."""

from __future__ import annotations

import datetime as dt
import logging
import sys
from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder(enc_hook=str)


class JsonLine(logging.Formatter):
    """``{"at","level","logger","message",…}`` with what ``extra={"fields": {…}}`` gave."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "at": dt.datetime.fromtimestamp(record.created, dt.UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _ENCODER.encode(line).decode()


def write_access(fields: dict[str, Any]) -> None:
    """A request's line. It goes around `logging`, which costs more than the rest of a call together."""
    line = {"at": dt.datetime.now(dt.UTC), "level": "info", "logger": "duet.access", "message": "request", **fields}
    sys.stdout.buffer.write(_ENCODER.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def configure() -> None:
    """Sends this process's log to stdout; warnings and above of libraries, all of ours and uvicorn's errors."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLine())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("duet", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.INFO)
    # Spared on each record: nothing in a line comes from them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
