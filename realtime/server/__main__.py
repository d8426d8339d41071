"""``python -m realtime.server --project-dir DIR --ready FILE [--host HOST] [--port PORT]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from realtime.errors import DuetError
from realtime.server import logs
from realtime.server.process import serve
from realtime.settings import Settings


def main() -> None:
    """Serves; a problem at the start is one message and status 1."""
    parser = argparse.ArgumentParser(prog="realtime.server", description="Duet's HTTP server")
    parser.add_argument("--project-dir", type=Path, required=True, help="the dbt project")
    parser.add_argument("--ready", type=Path, help="file that tells when the server is ready, and where")
    parser.add_argument("--host", help="address to listen on; default: DUET_SERVER_HOST")
    parser.add_argument("--port", type=int, help="port; 0: any; default: DUET_SERVER_PORT")
    options = parser.parse_args()
    logs.configure()
    try:
        settings = Settings.load(options.project_dir)
        host = options.host or settings.text("DUET_SERVER_HOST")
        port = settings.number("DUET_SERVER_PORT") if options.port is None else options.port
        serve(settings, host, port, options.ready)
    except DuetError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
