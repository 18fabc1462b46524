"""A worker's log: said once what is said again and again, and JSON with one line for each record."""

import io
import json
import logging

import pytest

from millstream.observability import logs
from millstream.observability.logs import REPEAT_SECONDS, Repeats, set_up


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock shows: the last one."""
    shown = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: shown[-1])
    return shown


def said(repeats: Repeats, level: int, message: str, *args: object) -> str | None:
    record = logging.LogRecord("some", level, "file", 1, message, args, None)
    return record.getMessage() if repeats.filter(record) else None


def test_the_same_is_said_once_in_a_while_and_counted(moments: list[float]) -> None:
    repeats = Repeats()
    assert said(repeats, logging.ERROR, "no connection to %d", 1) == "no connection to 1"
    assert [said(repeats, logging.ERROR, "no connection to %d", n) for n in range(5)] == [None] * 5
    assert said(repeats, logging.ERROR, "no way to %d", 1) == "no way to 1"
    assert said(repeats, logging.WARNING, "no connection to %d", 1) == "no connection to 1"
    moments.append(100 + REPEAT_SECONDS)
    again = "no connection to 7 (and 5 times since this was said last)"
    assert said(repeats, logging.ERROR, "no connection to %d", 7) == again
    assert said(repeats, logging.ERROR, "no connection to %d", 7) is None
    moments.append(100 + 3 * REPEAT_SECONDS)
    assert said(repeats, logging.ERROR, "no way to %d", 2) == "no way to 2"


@pytest.mark.parametrize("level", [logging.INFO, logging.CRITICAL])
def test_what_matters_and_what_happens_is_always_said(level: int) -> None:
    repeats = Repeats()
    assert [said(repeats, level, "stops") for _ in range(3)] == ["stops"] * 3


def test_each_loss_is_said() -> None:
    repeats = Repeats()
    for level, times in ((logging.ERROR, 4), (logging.WARNING, 1)):
        records = [
            logging.LogRecord("millstream.state.restore", level, "file", 1, "%d is gone", (n,), None)
            for n in range(4)
        ]
        assert sum(map(repeats.filter, records)) == times


def test_it_remembers_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_KNOWN", 3)
    repeats = Repeats()
    for text in "abcd":
        assert said(repeats, logging.ERROR, text) == text
    assert [said(repeats, logging.ERROR, text) for text in "bcda"] == [None, None, None, "a"]


def test_a_line_of_json_for_each_record() -> None:
    out = io.StringIO()
    root = logging.Logger("root", logging.INFO)
    root.addHandler(logging.StreamHandler(out))
    set_up(root, "json", "w1")
    root.info("one, %s\ntwo", "ü", extra={"origin": "t/0/5", "more": "not shown"})
    try:
        raise ValueError("as told")
    except ValueError:
        root.exception("failed")
    plain, failed = map(json.loads, out.getvalue().splitlines())
    assert plain.pop("time").endswith("Z")
    assert plain == {
        "message": "one, ü\ntwo",
        "level": "info",
        "logger": "root",
        "origin": "t/0/5",
        "worker": "w1",
    }
    assert failed["level"] == "error"
    assert failed["exception"].startswith("Traceback")
    assert failed["exception"].endswith("ValueError: as told")


@pytest.mark.parametrize(("level", "shown"), [(logging.INFO, False), (logging.DEBUG, True)])
def test_parts_that_start_and_stop_are_told_when_debugging_only(
    monkeypatch: pytest.MonkeyPatch, level: int, shown: bool
) -> None:
    chatty = logging.getLogger(f"chatty-{level}")
    chatty.parent = root = logging.Logger("root", level)
    monkeypatch.setattr(logs, "CHATTY", [chatty.name])
    set_up(root, "text", "w1")
    assert chatty.isEnabledFor(logging.WARNING)
    assert chatty.isEnabledFor(logging.INFO) is shown


@pytest.mark.parametrize(("level", "shown"), [(logging.INFO, 0), (logging.DEBUG, 1)])
def test_our_own_parts_are_no_louder_than_theirs(level: int, shown: int) -> None:
    out = io.StringIO()
    root = logging.Logger("millstream.engine.consumer", level)
    root.addHandler(logging.StreamHandler(out))
    set_up(root, "text", "w1")
    root.info("[^--Consumer]: Starting...")
    root.warning("[^--Consumer]: Crashed")
    root.info("ready")
    assert out.getvalue().splitlines()[shown:] == ["[^--Consumer]: Crashed", "ready"]
