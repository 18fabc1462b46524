"""Several agents of a topic, and the same events by another key: exact through failures and repeats."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import millstream
from millstream.testing.driver import Driver
from millstream.testing.memory_engine import AgentFailedError
from millstream.testing.output_check import OutputError
from tests.framework.apps import rides as service
from tests.framework.apps.rides import app, failing

START = 1_700_000_000.0


def ride(number: int, bike: str = "b", station: str = "s", at: float = START) -> dict[str, Any]:
    return {"number": number, "bike": bike, "station": station, "at": at}


def total(driver: Driver, table: str, key: str) -> int:
    found = driver.query(table, key)
    if found is None:
        return 0
    return int(found["value" if table != "per-station" else "total"]["rides"])


def test_each_record_goes_through_all_agents_and_is_rekeyed_once() -> None:
    with Driver(app, partitions=4, now=START + 100) as driver:
        for n in range(40):
            driver.send("rides", ride(n, bike=f"b{n % 7}", station=f"s{n % 3}"))
        driver.send("rides", ride(0, bike="b0", station="s0"))  # a repeat, which only `second` takes
        assert sum(total(driver, "per-bike", f"b{n}") for n in range(7)) == 40
        assert sum(total(driver, "also", f"b{n}") for n in range(7)) == 41
        assert [total(driver, "per-station", f"s{n}") for n in range(3)] == [14, 13, 13]
        by_station = driver.read("rides.by-station")
        assert {(one.key, one.partition) for one in by_station if one.value} == {
            (one.value["station"], one.partition) for one in by_station if one.value
        }
        assert len(driver.read("receipts")) == 41


@pytest.mark.parametrize("name", ["first", "second"])
def test_if_one_agent_fails_all_begin_again(name: str) -> None:
    with Driver(app, now=START + 100) as driver:
        driver.send("rides", ride(1))
        failing.add(name)
        driver.send("rides", ride(2))
        assert not failing
        assert (total(driver, "per-bike", "b"), total(driver, "also", "b")) == (2, 2)
        assert total(driver, "per-station", "s") == 2


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc"), st.sampled_from("xyz")), max_size=30),
    st.sets(st.integers(0, 30)),
    st.sets(st.integers(0, 30)),
)
def test_totals_are_those_of_a_dictionary(
    rides: list[tuple[int, str, str]], restarts: set[int], failures: set[int]
) -> None:
    # A number belongs to one bike, so that its repeats meet in one partition.
    known: dict[int, tuple[str, str]] = {}
    with Driver(app, partitions=3, now=START + 100) as driver:
        for i, (number, bike, station) in enumerate(rides):
            known.setdefault(number, (bike, station))
            if i in failures:
                failing.add("first" if i % 2 else "second")
            driver.send("rides", ride(number, *known[number]))
            failing.clear()
            if i in restarts:
                driver.restart(lose_disk=i % 2 == 0)
        for station in "xyz":
            assert total(driver, "per-station", station) == sum(s == station for _, s in known.values())
        for bike in "abc":
            assert total(driver, "per-bike", bike) == sum(b == bike for b, _ in known.values())
            assert total(driver, "also", bike) == sum(known[n][0] == bike for n, _, _ in rides)


def test_a_repeat_of_a_rekeyed_record_is_taken_once() -> None:
    with Driver(app, now=START + 100) as driver:
        driver.send("rides", ride(1))
        (sent,) = [one for one in driver.read("rides.by-station") if one.value is not None]  # no markers
        repeat = [(name, value) for name, value in sent.headers.items()]
        driver.send("rides.by-station", sent.value, headers=repeat)
        assert total(driver, "per-station", "s") == 1
        driver.restart(lose_disk=True)
        driver.send("rides.by-station", sent.value, headers=repeat)
        assert total(driver, "per-station", "s") == 1


def test_windows_over_all_partitions_close_when_all_have_passed() -> None:
    with Driver(app, partitions=2, now=START + 100) as driver:
        for n in range(8):
            driver.send("rides", ride(n, bike=f"b{n}"))
        assert total(driver, "per-station", "s") == 8
        for n in range(8, 16):  # ten minutes later, in each partition
            driver.send("rides", ride(n, bike=f"b{n - 8}", at=START + 600))
        driver.send("rides", ride(99, bike="b0", at=START))
        assert driver.read("rides.late") != []


def test_a_failure_has_its_cause_and_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def always(name: str) -> None:
        raise RuntimeError(f"{name} fails always")

    monkeypatch.setattr(service, "fail", always)
    began = time.monotonic()
    with (
        Driver(app, now=START) as driver,
        pytest.raises(AgentFailedError, match="8 times in a row") as caught,
    ):
        driver.send("rides", ride(1))
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert time.monotonic() - began < 5  # a worker would have waited for twelve seconds


def test_an_output_beyond_its_bounds_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "PRICE", 20_000)
    with (
        Driver(app, now=START) as driver,
        pytest.raises(OutputError, match="no Receipt: Expected `int` <= 10000"),
    ):
        driver.send("rides", ride(1))


def test_unknown_topics_and_tables_are_refused() -> None:
    with Driver(app, now=START) as driver:
        for wrong in (lambda: driver.send("ride", ride(1)), lambda: driver.read("ride")):
            with pytest.raises(ValueError, match=r"declares no topic 'ride'; .* rides\.by-station"):
                wrong()
        with pytest.raises(ValueError, match="no table 'per-bikes'; there are: seen, per-bike"):
            driver.query("per-bikes", "b")


@pytest.mark.parametrize("count", [1, 2])
def test_an_agent_may_yield(count: int) -> None:
    made = millstream.App("yielding", agents=())
    topic = made.source_topic("rides", service.Ride, key="bike", event_time="at")
    done: list[int] = []
    for n in range(count):

        async def agent(batches: Any) -> Any:
            async for batch in batches:
                async with batch.commit():
                    done.extend(event.number for event in batch)
                yield len(batch)

        agent.__qualname__ = f"agent_{n}"
        made.agent(topic)(agent)
    with Driver(made) as driver:
        driver.send("rides", ride(1))
        driver.send("rides", ride(2))
    assert done == [1] * count + [2] * count


ODD = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [b"rides/0/" + b"9" * 30, b"rides/0/-1", b"/0/1", b"r" * 400_000 + b"/0/1", b"nan", b"-inf", b"1e999"]
    ),
)
HEADERS = st.lists(st.tuples(st.sampled_from(["origin", "replay-of", "watermark", "of"]), ODD), max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["rides", "rides.by-station"]), HEADERS, st.none() | st.binary(max_size=9)),
        max_size=8,
    )
)
def test_hostile_headers_keys_and_values_stop_nothing(
    hostile: list[tuple[str, list[tuple[str, bytes]], bytes | None]],
) -> None:
    """A record with headers like ours is an event, a dead letter, or a repeat: never an end."""
    with Driver(app, now=START + 100) as driver:
        driver.send("rides", ride(1))
        for n, (topic, headers, value) in enumerate(hostile):
            driver.send(topic, value, key="x", headers=headers)
            driver.send(topic, ride(100 + n, bike="y", station="y"), headers=headers)
        driver.restart(lose_disk=True)
        driver.send("rides", ride(2))
        assert total(driver, "per-bike", "b") == total(driver, "per-station", "s") == 2
