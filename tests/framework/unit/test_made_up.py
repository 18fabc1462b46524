"""Made-up events: whatever the Record allows is valid for it, keys repeat, ids do not."""

import uuid
from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from itertools import islice
from typing import Annotated, Any, Literal

import faust
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Meta

import millstream
from millstream import EventTime, Fallback, From
from millstream.engine.source import Source
from millstream.records import Invalid
from millstream.sources.made_up import CannotMakeUpError, MadeUpEvents
from millstream.tables.dedup import DedupTable

START = 1_700_000_000.0


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Place(faust.Record):
    city: Annotated[str, Meta(min_length=2, max_length=4)]
    size: int | None = None


class Reading(faust.Record):
    sensor: Annotated[str, Meta(pattern=r"^[A-Z]{2}-\d{3}$")]
    reading_id: Annotated[str, Meta(max_length=40), From("id", fallback=Fallback.ORIGIN)]
    at: EventTime
    value: Annotated[float, Meta(ge=-40, le=85)]


def source_of(record: Any, *, key: str, event_time: str = "at", dedup: str | None = None) -> Source:
    app = millstream.App("made-up", agents=())
    topic = app.source_topic("made", record, key=key, event_time=event_time)
    if dedup is not None:
        app.add_tables(topic, DedupTable("seen", ttl=timedelta(hours=1), id=dedup))
    return app.topology.sources[topic.get_topic_name()]


def made(source: Source, count: int, **more: Any) -> list[Any]:
    options = {"seed": 1, "rate": 100.0, "start": START, "duplicates": 0.0} | more
    return list(islice(MadeUpEvents(source).records(count=count, **options), count))


BOUNDS = st.tuples(st.integers(-(10**6), 10**6), st.integers(0, 10**6))
PATTERNS = st.sampled_from([r"^[a-z]+$", r"^[a-z0-9]*$", r"^.*$", r"^\w{1,}$", r"^[A-Z][a-z]*$", "a*"])
TYPES = st.one_of(
    st.just(str),
    st.just(bool),
    st.just(int),
    st.just(float),
    st.just(datetime),
    st.just(date),
    st.just(Decimal),
    st.just(timedelta),
    st.just(uuid.UUID),
    st.just(Any),
    st.just(Color),
    st.just(Place),
    st.just(EventTime),
    st.just(EventTime | None),
    st.just(Place | None),
    st.just(list[Place]),
    st.just(dict[str, float]),
    st.just(dict[int, list[str]]),
    st.just(dict[uuid.UUID, date]),
    st.just(dict[Literal["a", "b"], Any]),
    st.just(dict[Annotated[str, Meta(min_length=2, max_length=3)], int]),
    st.just(bytes),
    st.just(None),
    st.just(int | str),
    st.just(set[int]),
    st.just(Annotated[float, Meta(multiple_of=0.25, ge=-3, lt=9)]),
    st.just(Annotated[float, Meta(ge=-1e308, le=1e308)]),
    st.just(tuple[int, str]),
    st.just(Literal["a", "b"]),
    st.just(Literal[1, 2]),
    st.just(Annotated[str, Meta(pattern=r"^\+?[0-9]{3,12}$")]),
    st.just(Annotated[str | None, From(fallback=Fallback.CONTENT)]),
    st.tuples(PATTERNS, st.integers(1, 30), st.integers(0, 30)).map(
        lambda p: Annotated[str, Meta(pattern=p[0], min_length=p[1], max_length=p[1] + p[2])]
    ),
    PATTERNS.map(lambda p: Annotated[str, Meta(pattern=p, max_length=10)]),
    PATTERNS.map(lambda p: Annotated[str, Meta(pattern=p)]),
    st.integers(1, 9).map(lambda n: Annotated[int, Meta(ge=n, multiple_of=n)]),
    BOUNDS.map(lambda b: Annotated[int, Meta(ge=b[0], le=b[0] + b[1])]),
    BOUNDS.map(lambda b: Annotated[int, Meta(gt=b[0], lt=b[0] + b[1] + 2)]),
    BOUNDS.map(lambda b: Annotated[float, Meta(ge=b[0] / 1000, le=(b[0] + b[1]) / 1000)]),
    BOUNDS.map(lambda b: Annotated[float, Meta(gt=b[0] / 1000, lt=(b[0] + b[1]) / 1000 + 0.001)]),
    BOUNDS.map(lambda b: Annotated[int, Meta(le=b[0])]),
    st.tuples(st.integers(0, 40), st.integers(0, 40)).map(
        lambda b: Annotated[str, Meta(min_length=b[0], max_length=b[0] + b[1])]
    ),
    st.tuples(st.integers(0, 5), st.integers(0, 5)).map(
        lambda b: Annotated[list[int], Meta(min_length=b[0], max_length=b[0] + b[1])]
    ),
)
KEYS = st.sampled_from(
    [
        str,
        int,
        Literal["x", "y"],
        Annotated[str, Meta(max_length=3)],
        Annotated[int, Meta(ge=5, le=9)],
        Annotated[int, Meta(gt=-20, multiple_of=7)],
        Annotated[str, From("other", numbers=True)],
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.sampled_from([*"abcdef", "id", "made_id"]), TYPES, max_size=6),
    KEYS,
    st.integers(0, 99),
)
def test_each_made_up_value_is_valid(types: dict[str, Any], key: Any, seed: int) -> None:
    record = type("Made", (faust.Record,), {"__annotations__": {"key": key, "at": EventTime, **types}})
    source = source_of(record, key="key")
    events = made(source, 20, seed=seed)
    for one in events:
        (event,) = source.decode([_Kafka(one.value)], "made/0")
        assert not isinstance(event, Invalid), (one.value, event)
        assert str(event.key).encode() == one.key


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.sampled_from([*"abcdef", "id", "made_id"]), TYPES, max_size=6),
    KEYS | st.just(Annotated[str, From(fallback=Fallback.RECORD_KEY)]),
    st.integers(0, 99),
)
def test_each_invalid_record_is_refused(types: dict[str, Any], key: Any, seed: int) -> None:
    record = type("Made", (faust.Record,), {"__annotations__": {"key": key, "at": EventTime, **types}})
    source = source_of(record, key="key")
    for one in made(source, 20, seed=seed, invalid=1.0):
        (event,) = source.decode([_Kafka(one.value, key=one.key)], "made/0")
        assert isinstance(event, Invalid), one.value


def test_a_share_is_invalid_for_several_reasons_and_the_rest_stays_as_it_is() -> None:
    source = source_of(Reading, key="sensor")
    records = made(source, 1000, invalid=0.1, duplicates=0.1)
    assert records == made(source, 1000, invalid=0.1, duplicates=0.1)
    found = [
        event for (event,) in (source.decode([_Kafka(one.value, key=one.key)], "made/0") for one in records)
    ]
    codes = Counter(event.code for event in found if isinstance(event, Invalid))
    assert codes.keys() == {"not-json", "missing-field", "wrong-type"}
    assert 60 < codes.total() < 140
    assert len({one.value for one in records}) < 1000 - 50  # repeats


class _Kafka(msgspec.Struct):
    value: bytes
    timestamp: int = int(START * 1000)
    offset: int = 0
    key: bytes | None = None
    headers: tuple[Any, ...] = ()


def test_keys_repeat_ids_do_not_and_times_advance() -> None:
    source = source_of(Reading, key="sensor", dedup="reading_id")
    events = [msgspec.json.decode(one.value) for one in made(source, 2000)]
    keys = Counter(event["sensor"] for event in events)
    assert 50 < len(keys) <= 100
    assert max(keys.values()) > 4 * min(keys.values())
    assert len({event["reading_id"] for event in events}) == 2000
    times = [event["at"] for event in events]
    assert times == sorted(times)
    assert (times[0], times[-1]) == ("2023-11-14T22:13:20.000Z", "2023-11-14T22:13:39.990Z")


def test_the_same_seed_gives_the_same_bytes_and_some_events_twice() -> None:
    source = source_of(Reading, key="sensor")
    first, again = made(source, 1000, duplicates=0.1), made(source, 1000, duplicates=0.1)
    assert first == again
    assert made(source, 1000, seed=2) != first
    assert 50 < 1000 - len({one.value for one in first}) < 150


@pytest.mark.parametrize(
    "typ",
    [
        str,
        int,
        uuid.UUID,
        str | None,
        Annotated[int, Meta(ge=1, le=2**31 - 1)],
        Annotated[int, Meta(multiple_of=10)],
        Annotated[str, Meta(min_length=6, max_length=8)],
        Annotated[str, Meta(pattern="^[0-9a-f]{32}$")],
    ],
)
def test_ids_are_unique_whatever_their_type(typ: Any) -> None:
    record = type(
        "Made", (faust.Record,), {"__annotations__": {"key": str, "at": EventTime, "event_id": typ}}
    )
    events = [msgspec.json.decode(one.value) for one in made(source_of(record, key="key"), 2000, rate=0)]
    assert len({event["event_id"] for event in events}) == 2000


@pytest.mark.parametrize(
    "typ",
    [
        dict[int, int],
        Annotated[float, Meta(multiple_of=0.5, ge=0)],
        Annotated[float, Meta(multiple_of=0.01, ge=0)],
        Annotated[float, Meta(ge=-1e308, le=1e308)],
        Annotated[int, Meta(ge=2**62)],
    ],
)
def test_values_vary(typ: Any) -> None:
    record = type("Made", (faust.Record,), {"__annotations__": {"key": str, "at": EventTime, "value": typ}})
    events = [msgspec.json.decode(one.value) for one in made(source_of(record, key="key"), 100)]
    assert len({repr(event["value"]) for event in events}) > 5


class Impossible(faust.Record):
    key: str
    at: EventTime
    code: Annotated[str, Meta(pattern=r"^(?=a)b$")]


class Narrow(faust.Record):
    key: str
    at: EventTime
    code: Annotated[str, Meta(pattern="^[a-z]{9}$", max_length=3)]


class NoId(faust.Record):
    key: str
    at: EventTime
    event_id: Annotated[str, Meta(pattern=r"^(?=a)b$")]


class Empty(faust.Record):
    key: Annotated[int, Meta(ge=1, le=4, multiple_of=5)]
    at: EventTime


@pytest.mark.parametrize("record", [Impossible, Narrow, NoId, Empty])
def test_what_cannot_be_made_up_says_what_to_do(record: Any) -> None:
    source = source_of(record, key="key")
    with pytest.raises(CannotMakeUpError, match=rf"events of {record.__name__} .* `app.add_generator"):
        MadeUpEvents(source)


class Coded(faust.Record):
    key: Annotated[str, Meta(pattern="^[a-z]+-[a-z]+$", max_length=12)]
    at: EventTime
    event_id: Annotated[str, Meta(pattern="^[a-z0-9]+$", min_length=8, max_length=64)]
    short: Annotated[str, Meta(pattern="^[a-z]+$", min_length=60, max_length=64)]
    dotted: Annotated[str, Meta(pattern=r"^\w+\.\w+\.\w+$", max_length=12)]


def test_a_stream_of_texts_with_patterns_and_lengths_goes_on() -> None:
    source = source_of(Coded, key="key")
    events = [msgspec.json.decode(one.value) for one in made(source, 3000)]
    assert len({event["event_id"] for event in events}) == 3000


class Numbered(faust.Record):
    key: str
    at: EventTime
    number: Annotated[int, Meta(ge=1, le=2**31 - 1)]


def test_ids_of_two_runs_differ() -> None:
    source = source_of(Numbered, key="key", dedup="number")
    first, second = (
        {msgspec.json.decode(one.value)["number"] for one in made(source, 2000, start=START + days * 86_400)}
        for days in (0, 1)
    )
    assert len(first) == len(second) == 2000
    assert not first & second
