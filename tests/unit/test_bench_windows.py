import orjson
import pytest

from bench.windows import expected
from bench.windows.events import DISORDER, events
from bench.windows.expected import PARTITIONS, Expected, hopping, sessions, tumbling
from millstream.kafka.partitioner import partition_for
from millstream.sources.record import Record

ONE, OTHER = "a", "c"


def told(cut, *given):
    """What is told of events: key, milliseconds, value."""
    seen = Expected(cut)
    source = [
        Record(key.encode(), orjson.dumps({"key": key, "value": value, "timestamp": time}), time / 1000)
        for key, time, value in given
    ]
    assert list(seen.watch(source, now=2e9)) == source
    return seen, dict(seen.closed())


@pytest.fixture(autouse=True)
def one_partition(monkeypatch):
    monkeypatch.setattr(expected, "PARTITIONS", 1)


def test_a_tumbling_window_holds_what_comes_before_its_end():
    given = (ONE, 60_000, 5), (ONE, 119_999, 2), (OTHER, 120_000, 9), (ONE, 122_000, 1)
    seen, windows = told(tumbling, *given)
    assert windows == {(ONE, 60_000, 120_000): (2, 7, 2, 5)}
    assert (seen.outputs, seen.rows) == (1, 3)


def test_a_window_is_open_until_its_grace_has_passed():
    assert told(tumbling, (ONE, 60_000, 5), (OTHER, 121_999, 9))[1] == {}
    assert told(tumbling, (ONE, 60_000, 5), (OTHER, 122_000, 9))[1] == {(ONE, 60_000, 120_000): (1, 5, 5, 5)}


def test_another_partition_closes_no_window(monkeypatch):
    monkeypatch.setattr(expected, "PARTITIONS", PARTITIONS)
    assert partition_for(ONE.encode(), PARTITIONS) != partition_for(OTHER.encode(), PARTITIONS)
    assert told(tumbling, (ONE, 60_000, 5), (OTHER, 122_000, 9))[1] == {}


def test_an_event_is_in_as_many_hopping_windows_as_steps():
    _, windows = told(hopping, (ONE, 60_500, 5), (ONE, 61_000, 2), (ONE, 500_000, 1))
    assert len(windows) == 61
    assert windows[ONE, 1000, 61_000] == (1, 5, 5, 5)
    assert windows[ONE, 2000, 62_000] == windows[ONE, 60_000, 120_000] == (2, 7, 2, 5)
    assert windows[ONE, 61_000, 121_000] == (1, 2, 2, 2)


def test_a_session_ends_where_a_gap_begins():
    given = (ONE, 1000, 5), (ONE, 9998, 3), (ONE, 4999, 2), (ONE, 8999, 1), (OTHER, 15_998, 7)
    assert told(sessions, *given)[1] == {(ONE, 1000, 4999): (2, 7, 2, 5), (ONE, 8999, 9998): (2, 4, 1, 3)}


def test_what_is_missing_too_much_or_wrong_is_told():
    seen, windows = told(sessions, (ONE, 1000, 5), (ONE, 10_000, 2), (OTHER, 20_000, 1))
    first, second = windows.items()
    assert seen.differences([first, second]) == []
    assert seen.differences([first]) == ["windows: 1 missing, 0 too many, 0 wrong"]
    assert seen.differences([first, first, second]) == ["windows: 0 missing, 1 too many, 0 wrong"]
    other = (second[0], (1, 3, 3, 3))
    assert seen.differences([first, other]) == ["windows: 0 missing, 0 too many, 1 wrong"]
    assert seen.differences([first, second, ((OTHER, 20_000, 20_000), (1, 1, 1, 1))]) == [
        "windows: 0 missing, 1 too many, 0 wrong"
    ]


def test_no_event_is_late():
    times = [orjson.loads(record.value)["timestamp"] for record in events(5000, 1)]
    behind = [max(times[: n + 1]) - time for n, time in enumerate(times)]
    assert 0 < max(behind) < DISORDER
