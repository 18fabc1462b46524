import gzip
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from millstream.cli import main
from millstream.kafka.local import KafkaUnavailable
from millstream.sources.batches import SendError
from millstream.sources.send import Due, Sent
from millstream.sources.terminal import run
from tests.framework.sink import Sink

EVENT = {"event_id": "e1", "user_id": "u1", "action": "view", "timestamp": "2026-01-01T00:00:00Z"}
LATER = EVENT | {"event_id": "e2", "timestamp": "2026-01-01T00:10:00Z"}


def invoke(*arguments: object) -> Result:
    """Run a command for the shop."""
    return CliRunner().invoke(main, ["-A", "tests.framework.apps.shop", *map(str, arguments)])


def loaded(*arguments: object) -> Result:
    return invoke("load", *arguments)


def write(file: Path, *events: object) -> Path:
    file.write_text(
        "".join(f"{event if isinstance(event, str) else json.dumps(event)}\n" for event in events)
    )
    return file


def test_bad_lines_are_sent_as_they_are_and_told(tmp_path: Path, sink: Sink) -> None:
    file = write(tmp_path / "e.ndjson", EVENT, "what", LATER, {"x": 1}, "why")
    result = loaded(file)
    assert result.exit_code == 0
    assert [record.key for record in sink.records] == [b"u1", None, b"u1", None, None]
    assert [record.value for record in sink.records] == file.read_bytes().splitlines()
    assert result.output.splitlines()[:4] == [
        "read 5 lines, sent 5 records to shop.raw in 2.0 s (2/s), bad lines: 3",
        "bad lines were sent as they are, without a key, for the dead-letter topic:",
        "  2 x not-json",
        "  1 x missing-field",
    ]
    assert f"  {file}, line 2: not-json: " in result.output
    assert f"{file}: read as UTF-8" in result.output


def test_a_bad_line_that_kafka_would_refuse_is_only_told(tmp_path: Path, sink: Sink) -> None:
    result = loaded(write(tmp_path / "e.ndjson", "x" * 1_000_001, EVENT))
    assert [record.key for record in sink.records] == [b"u1"]
    assert "1 x too large for Kafka, not sent" in result.output


def test_the_limit_counts_over_all_files(tmp_path: Path, sink: Sink) -> None:
    one, other = write(tmp_path / "1.ndjson", EVENT, "bad"), write(tmp_path / "2.ndjson", LATER, EVENT)
    result = loaded("--limit", 3, one, other)
    assert len(sink.records) == 3
    assert "read 3 lines, sent 3 records" in result.output


def test_speed_follows_the_event_time(tmp_path: Path, sink: Sink) -> None:
    assert loaded("--speed", 60, write(tmp_path / "e.ndjson", "bad", EVENT, "bad", LATER)).exit_code == 0
    due: Due = sink.options["due"]
    assert [due(number, record) for number, record in enumerate(sink.records)] == [0, 0, 0, 10]


def test_at_full_speed_nothing_waits(tmp_path: Path, sink: Sink) -> None:
    loaded(write(tmp_path / "e.ndjson", EVENT), "--topic", "shop.raw")
    assert (sink.options["due"], sink.options["topic"]) == (None, "shop.raw")


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "nan", "inf"])
def test_another_speed_is_refused(tmp_path: Path, sink: Sink, speed: str) -> None:
    result = loaded("--speed", speed, write(tmp_path / "e.ndjson", EVENT))
    assert result.exit_code == 2
    assert "`max` or a number above 0" in result.output


def test_a_truncated_file_is_sent_as_far_as_it_goes_and_fails(tmp_path: Path, sink: Sink) -> None:
    file = tmp_path / "e.ndjson.gz"
    file.write_bytes(
        gzip.compress(
            b"".join(json.dumps(EVENT | {"event_id": str(n)}).encode() + b"\n" for n in range(9999))
        )[:-50]
    )
    result = loaded(file)
    assert result.exit_code == 1
    assert f"read {len(sink.records):,} lines, sent" in result.output
    assert f"Error: {file}: the gzip stream ends too early" in result.output
    assert sink.records


def test_wrong_columns_fail_without_a_summary(tmp_path: Path, sink: Sink) -> None:
    result = loaded("--as", "sales", write(tmp_path / "e.csv", "a,b"))
    assert result.exit_code == 1
    assert result.output.startswith("Error:")


def test_a_missing_file_is_told(sink: Sink) -> None:
    result = loaded("no.csv")
    assert result.exit_code == 2
    assert "'no.csv' does not exist" in result.output


@pytest.mark.parametrize("error", [SendError("no Kafka answers at x:1"), KafkaUnavailable("no Java")])
def test_what_kafka_says_is_told(tmp_path: Path, sink: Sink, error: Exception) -> None:
    sink.error = error
    for result in (loaded(write(tmp_path / "e.ndjson", EVENT)), invoke("produce")):
        assert result.exit_code == 1
        assert result.output == f"Error: {error}\n"


def test_a_load_that_was_stopped_ends_with_the_shells_code(tmp_path: Path, sink: Sink) -> None:
    sink.stopped = True
    result = loaded(write(tmp_path / "e.ndjson", EVENT))
    assert result.exit_code == 130
    assert "sent 1 records" in result.output


def test_produce_sends_the_same_for_the_same_start(sink: Sink) -> None:
    arguments = ["--count", "200", "--start", "2026-01-01T00:00:00Z", "--rate", "50", "--seed", "7"]
    result = invoke("produce", *arguments)
    assert result.output == "sent 200 records to shop.raw in 2.0 s (100/s)\n"
    first = sink.records[:]
    invoke("produce", *arguments)
    assert sink.records == first * 2
    assert sink.options["due"](100, first[0]) == 2
    assert first[0].event_time == 1_767_225_600


def test_produce_as_fast_as_possible_waits_for_nothing(sink: Sink) -> None:
    invoke("produce", "--count", "10", "--rate", "0")
    assert sink.options["due"] is None


def test_produce_refuses_an_impossible_start(sink: Sink) -> None:
    result = invoke("produce", "--start", "2026-02-30")
    assert result.exit_code == 2
    assert "impossible time" in result.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_sending(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def sending(records: object, *, stop: Any, **_: object) -> Sent:
        os.kill(os.getpid(), number)
        await stop.wait()
        return Sent(0, 1.0, True)

    before: Callable[..., object] | int | None = signal.getsignal(number)
    monkeypatch.setattr("millstream.sources.terminal.send", sending)
    assert run([], bootstrap="x", topic="t").stopped
    assert signal.getsignal(number) == before
    assert "stopping" in capsys.readouterr().err
