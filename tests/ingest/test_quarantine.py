"""Rows in quarantine, listed, mended and replayed through a real server."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from realtime import show
from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import BadRequestError, NotFoundError
from realtime.ingest import quarantine
from realtime.ingest.intake import Limits
from realtime.ingest.quarantine import editable, mended, replay, waiting
from realtime.planner.ir import SourceSpec
from tests.ingest.rows import deployed, ndjson
from tests.ingest.served import served
from tests.ingest.test_events import call
from tests.ingest.test_files import ignore
from tests.landing import source

COLUMNS = {"id": "BIGINT", "name": "VARCHAR"}


@pytest.fixture
def spec(database: str) -> SourceSpec:
    return source(database, COLUMNS, name="app.events", not_null=("id",))


@pytest.fixture
def url(endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec) -> Iterator[str]:
    with served(endpoint, deployed(clickhouse, database, spec), Limits()) as address:
        yield address


def sent(url: str) -> None:
    """Five rows of which one fits."""
    path = f"{url}/v1/events/app.events"
    call(path, ndjson({"id": 1}, {"id": "x", "name": "json"}, {"id": 3, "nmae": "y"}), X_Request_Id="r-1")
    call(path, b'id,name\nz,"a ""quoted"", csv"\n1,2,3\n', Content_Type="text/csv")


def ids(clickhouse: ClickHouse, spec: SourceSpec) -> list[int]:
    return [row["id"] for row in clickhouse.rows(f"SELECT id FROM {spec.landing} ORDER BY id")]


def test_rows_are_listed_by_source_time_and_reason(
    clickhouse: ClickHouse, url: str, spec: SourceSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    sent(url)
    found = waiting(clickhouse, [spec])
    assert {row.row for row in found} == {
        '{"id": "x", "name": "json"}', '{"id": 3, "nmae": "y"}', 'z,"a ""quoted"", csv"', "1,2,3",
    }  # fmt: skip
    assert [row.request_id == "r-1" for row in found] == [True, True, False, False]
    assert [row.row for row in waiting(clickhouse, [spec], reason="NMAE")] == ['{"id": 3, "nmae": "y"}']
    assert len(waiting(clickhouse, [spec], since=found[2].received_at)) == 2
    assert not waiting(clickhouse, [spec], since=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))
    show.quarantine(found)
    printed = capsys.readouterr().out
    assert "did you mean name?" in printed
    assert found[0].id in printed


def test_rows_are_mended_in_a_file_and_replayed_once(
    clickhouse: ClickHouse, url: str, spec: SourceSpec, tmp_path: Path
) -> None:
    sent(url)
    file = tmp_path / "rows.ndjson"
    found = waiting(clickhouse, [spec])
    lines = [json.loads(line) for line in editable(found, spec)]
    by_id = {str(line["row"]["id"]) if isinstance(line["row"], dict) else line["row"]: line for line in lines}
    lines = [by_id[key] for key in ("x", "3", "z", "1,2,3")]
    assert [line["row"] for line in lines[:3]] == [
        {"id": "x", "name": "json"}, {"id": 3, "nmae": "y"}, {"id": "z", "name": 'a "quoted", csv'},
    ]  # fmt: skip
    lines[0]["row"]["id"] = 10
    lines[1]["row"] = {"id": 11, "name": lines[1]["row"]["nmae"]}
    lines[2]["row"]["id"] = 12
    file.write_text("".join(json.dumps(line) + "\n" for line in lines[:3]))
    loaded = replay(clickhouse, url, spec, ignore, texts=mended(file))
    assert (loaded.successful_rows, loaded.quarantined_rows) == (3, 0)
    assert replay(clickhouse, url, spec, ignore, texts=mended(file)).successful_rows == 0
    assert ids(clickhouse, spec) == [1, 10, 11, 12]
    (left,) = waiting(clickhouse, [spec])
    assert left.row == "1,2,3"
    names = clickhouse.rows(f"SELECT name FROM {spec.landing} WHERE id = 12")
    assert names == [{"name": 'a "quoted", csv'}]
    with pytest.raises(NotFoundError, match=r"1 rows are not in the quarantine of app\.events"):
        replay(clickhouse, url, spec, ignore, ids=["00000000-0000-0000-0000-000000000000"])
    file.write_text("{}\n")
    with pytest.raises(BadRequestError, match=r"rows\.ndjson: line 1: "):
        mended(file)


def test_rows_that_fit_now_are_replayed_and_the_others_stay(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, url: str, spec: SourceSpec
) -> None:
    sent(url)
    call(f"{url}/v1/events/app.events", b"id;nmae\n7;a\n8;b,c\n", Content_Type='text/csv; delimiter=";"')
    wider = source(database, {**COLUMNS, "nmae": "VARCHAR"}, name="app.events", not_null=("id",))
    clickhouse.execute(f"ALTER TABLE {spec.landing} ADD COLUMN nmae Nullable(String)")
    (one,) = (row.id for row in waiting(clickhouse, [spec], reason="NMAE") if row.row.startswith("7"))
    with served(endpoint, deployed(clickhouse, database, wider), Limits()) as address:
        assert replay(clickhouse, address, wider, ignore, ids=[one]).successful_rows == 1
        loaded = replay(clickhouse, address, wider, ignore)
    assert (loaded.successful_rows, loaded.quarantined_rows) == (2, 3)
    assert ids(clickhouse, spec) == [1, 3, 7, 8]
    assert sorted(row.row for row in waiting(clickhouse, [spec])) == [
        "1,2,3", 'z,"a ""quoted"", csv"', '{"id": "x", "name": "json"}',
    ]  # fmt: skip


@pytest.mark.parametrize("step", ["send", "_MARK"])
def test_a_replay_that_is_killed_is_finished_by_the_next(
    clickhouse: ClickHouse, url: str, spec: SourceSpec, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    call(f"{url}/v1/events/app.events", b"".join(b'{"id":"x%d"}\n' % i for i in range(20)))
    texts = {row.id: f'{{"id":{i}}}' for i, row in enumerate(waiting(clickhouse, [spec]))}
    with monkeypatch.context() as patched:  # what comes next fails, as where the process is gone
        patched.setattr(quarantine, step, None)
        with pytest.raises((TypeError, AttributeError)):
            replay(clickhouse, url, spec, ignore, texts=texts)
    assert all(row.replay for row in waiting(clickhouse, [spec]))
    other = dict.fromkeys(list(texts)[:5], '{"id":99}')  # another choice does not change what had begun
    replay(clickhouse, url, spec, ignore, texts=other)
    assert ids(clickhouse, spec) == list(range(20))
    assert not waiting(clickhouse, [spec])
    assert clickhouse.value(f"SELECT uniqExact(id) FROM {spec.quarantine} FINAL WHERE replayed") == 20


def test_what_is_listed_can_be_written_as_json(clickhouse: ClickHouse, url: str, spec: SourceSpec) -> None:
    sent(url)
    found = json.loads(msgspec.json.encode(waiting(clickhouse, [spec])))
    assert found[0]["source"] == "app.events"
