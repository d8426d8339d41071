"""A lambda answered by the batch engine: the other side of the comparison."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from realtime.errors import CommandError
from realtime.planner.ir import LambdaSpec
from realtime.serving.parameters import Signature


def answer(spec: LambdaSpec, params: Mapping[str, Any], duckdb_path: Path) -> list[dict[str, Any]]:
    """The rows of ``spec`` for ``params`` (as in a JSON body) in the batch database, read only.

    Texts are converted as the server does it; ``as_of`` defaults to now. BadRequestError as from the server;
    CommandError with DuckDB's words where it refuses the query or another process is writing to the file.
    """
    given = Signature.of(spec).read({}, params, dt.datetime.now(dt.UTC))
    try:
        with duckdb.connect(duckdb_path, read_only=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            statement = connection.extract_statements(spec.batch)[0]
            used = {name: given[name] for name in statement.named_parameters}
            found = connection.execute(spec.batch, used)
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    except duckdb.Error as error:
        raise CommandError(
            f"DuckDB can't answer lambda {spec.name} from {duckdb_path}: {str(error).splitlines()[0]}",
            remedy="run `duet batch` first, and let nothing else write to the file meanwhile",
        ) from None
