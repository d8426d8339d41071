"""The lake's files: one folder per source, in it Parquet files named after the span of ``_ingested_at`` they hold.

The names are the only record of what was exported: the watermark is the end of the newest file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from realtime.errors import ConfigError
from realtime.settings import Settings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT = "%Y%m%dT%H%M%S%fZ"


@dataclasses.dataclass(frozen=True, order=True)
class LakeFile:
    """Every row of a source whose ``_ingested_at`` is at least ``start`` and below ``end``."""

    start: datetime
    end: datetime
    folder: Path

    @property
    def path(self) -> Path:
        """``<from>_<to>.parquet``; names sort as their spans do."""
        return self.folder / f"{self.start.strftime(_MOMENT)}_{self.end.strftime(_MOMENT)}.parquet"


def source_folder(settings: Settings, source: str) -> Path:
    """Where the files of ``source`` are; it need not exist yet."""
    return settings.lake_dir / source


def lake_files(settings: Settings, source: str) -> tuple[LakeFile, ...]:
    """The files of ``source``, oldest first.

    ConfigError where a name is not a span, or the spans leave a gap or overlap: then rows are missing or doubled.
    """
    folder = source_folder(settings, source)
    files = tuple(sorted(_parsed(path) for path in folder.glob("*.parquet")))
    for earlier, later in itertools.pairwise(files):
        if earlier.end != later.start:
            what = "overlaps" if later.start < earlier.end else "does not follow"
            raise ConfigError(
                f"the lake of source {source} is not whole: {later.path.name} {what} {earlier.path.name}",
                remedy=f"delete {folder} and write it again: duet export",
            )
    return files


def watermark(files: Sequence[LakeFile]) -> datetime:
    """Rows with ``_ingested_at`` below it are in ``files``, the others are not."""
    return files[-1].end if files else EPOCH


def row_count(paths: Sequence[Path]) -> int:
    """How many rows are in ``paths``, from their footers; ConfigError where one is no whole Parquet file."""
    if not paths:
        return 0
    with _reading(paths) as connection:
        sql = "SELECT sum(num_rows)::BIGINT FROM parquet_file_metadata($1)"
        row = connection.execute(sql, [[str(p) for p in paths]]).fetchone()
        assert row is not None
        return int(row[0])


def column_names(paths: Sequence[Path]) -> list[frozenset[str]]:
    """Names of each file's columns; ConfigError where one is no whole Parquet file."""
    # One connection for all: opening one takes 20 ms, a footer half a millisecond.
    with _reading(paths) as connection:
        described = (connection.execute("DESCRIBE FROM read_parquet($1)", [str(p)]).fetchall() for p in paths)
        return [frozenset(row[0] for row in rows) for rows in described]


@contextlib.contextmanager
def _reading(paths: Sequence[Path]) -> Iterator[duckdb.DuckDBPyConnection]:
    try:
        with duckdb.connect() as connection:
            yield connection
    except duckdb.Error as error:
        raise ConfigError(
            f"a Parquet file in {paths[0].parent} can't be read: {str(error).splitlines()[0]}",
            remedy=f"delete {paths[0].parent} and write it again: duet export",
        ) from None


def _parsed(path: Path) -> LakeFile:
    start, _, end = path.stem.partition("_")
    try:
        found = LakeFile(_moment(start), _moment(end), path.parent)
    except ValueError:
        found = None
    if found is None or found.start >= found.end:
        raise ConfigError(
            f"{path} is not a file that duet export wrote: its name is not <from>_<to>.parquet",
            remedy="move it out of the lake",
        )
    return found


def _moment(text: str) -> datetime:
    return datetime.strptime(text, _MOMENT).replace(tzinfo=UTC)
