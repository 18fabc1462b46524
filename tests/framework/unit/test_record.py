"""How a Record decodes: what is an event of it, and why the rest is not."""

import gc
import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import faust
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from millstream.records import CODES, EventTime, Invalid, event_time, twin
from millstream.serde.json import Decoder

NOW = 1_800_000_000_000
GOOD: dict[str, Any] = {
    "event_id": "e1",
    "user_id": "u1",
    "action": "view",
    "timestamp": "2026-01-31T12:00:00Z",
}


class Event(faust.Record):
    event_id: Annotated[str, Meta(min_length=1, max_length=128)]
    user_id: str
    action: Literal["view", "buy"]
    timestamp: EventTime
    page: str | None = None
    amount: Annotated[float, Meta(ge=-1e9, le=1e9)] | None = None
    quantity: int | None = None
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] | None = None
    country: Annotated[str, Meta(min_length=1)] | None = None
    attributes: Annotated[dict[str, Any], Meta(max_length=64)] | None = None


class MoreOfAnEvent(Event):
    level: Literal["low", "high"] = "low"
    region: str | None = None


decoder = Decoder(Event, max_bytes=2000, max_future=timedelta(hours=24))


def code_of(value: bytes | None) -> str:
    with pytest.raises(Invalid) as caught:
        decoder.one(value, NOW)
    assert caught.value.reason.endswith(".")
    return caught.value.code


def changed(**fields: Any) -> bytes:
    return json.dumps({k: v for k, v in (GOOD | fields).items() if v is not ...}).encode()


def test_good_event() -> None:
    event = decoder.one(changed(page="/home", unknown=1), NOW)
    assert (event.event_id, event.page, event.amount, event.timestamp) == ("e1", "/home", None, 1769860800.0)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "tombstone"),
        (b"", "not-json"),
        (b"{", "not-json"),
        (b"\xff\xfe", "not-json"),
        (b'{"event_id": "\\ud800"}', "not-json"),
        (b"NaN", "not-json"),
        (changed() + b"x", "not-json"),
        (b"x" * 2001, "too-large"),
        (b"[]", "wrong-type"),
        (b'"text"', "wrong-type"),
        (b"null", "wrong-type"),
        (changed(user_id=...), "missing-field"),
        (changed(timestamp=...), "missing-field"),
        (changed(user_id=3), "wrong-type"),
        (changed(user_id=None), "wrong-type"),
        (changed(amount="3"), "wrong-type"),
        (changed(amount=True), "wrong-type"),
        (changed(quantity=1.5), "wrong-type"),
        (changed(timestamp=None), "wrong-type"),
        (changed(timestamp=[]), "wrong-type"),
        (changed(attributes=[]), "wrong-type"),
        (changed(event_id=""), "out-of-range"),
        (changed(event_id="e" * 129), "out-of-range"),
        (changed(action="fly"), "out-of-range"),
        (changed(amount=1e10), "out-of-range"),
        (changed(amount=0).replace(b"0}", b"1e999}"), "out-of-range"),
        (changed(currency="pounds"), "out-of-range"),
        (changed(country=""), "out-of-range"),
        (changed(attributes={str(n): n for n in range(65)}), "out-of-range"),
        (changed(timestamp="yesterday"), "impossible-time"),
        (changed(timestamp="2026-02-30T12:00:00Z"), "impossible-time"),
        (changed(timestamp="1969-12-31T23:59:59Z"), "impossible-time"),
        (changed(timestamp=-1), "impossible-time"),
        (changed(timestamp=NOW / 1000 + 86_401), "impossible-time"),
        (changed(timestamp="9999-12-31T23:59:59-14:00"), "impossible-time"),
        (changed(attributes=0).replace(b"0}", b'{"a":' + b"[" * 1500), "out-of-range"),
    ],
)
def test_invalid(value: bytes | None, code: str) -> None:
    assert code_of(value) == code
    assert code in CODES


@pytest.mark.parametrize(
    "value",
    [None, b"{", b"x" * 2001, b"[]", changed(timestamp="yesterday"), changed(timestamp=NOW / 1000 + 86_401)],
)
def test_an_invalid_value_does_not_keep_its_batch_for_the_garbage_collector(value: bytes | None) -> None:
    record = type("Record", (), {"value": value, "timestamp": NOW})()
    gc.collect()
    gc.disable()
    try:
        decoder.many([record])
        assert gc.collect() == 0
    finally:
        gc.enable()


@given(st.binary(max_size=300))
def test_any_bytes_are_an_event_or_invalid(value: bytes) -> None:
    (event,) = decoder.many([type("Record", (), {"value": value, "timestamp": NOW})()])
    assert isinstance(event, Invalid)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
    )
)
def test_any_value_of_a_field_is_accepted_or_explained(value: Any) -> None:
    for field in ("event_id", "action", "timestamp", "page", "amount", "attributes"):
        (event,) = decoder.many(
            [type("Record", (), {"value": json.dumps(GOOD | {field: value}).encode(), "timestamp": NOW})()]
        )
        assert not isinstance(event, Invalid) or event.code in CODES


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2100, 1, 1)))
def test_forms_of_a_time_agree(moment: datetime) -> None:
    seconds = moment.replace(tzinfo=UTC).timestamp()
    assert event_time(moment.isoformat()) == seconds
    assert event_time(moment.isoformat() + "Z") == seconds
    assert event_time(seconds) == seconds
    if seconds * 1000 >= 1e11:
        assert event_time(seconds * 1000) == pytest.approx(seconds)


def test_offset_of_a_zone_is_honoured() -> None:
    assert event_time("2026-01-31T13:00:00+01:00") == event_time("2026-01-31T12:00:00")


def test_twin_has_the_fields_of_its_record() -> None:
    made = twin(MoreOfAnEvent)(event_id="e", user_id="u", action="view", timestamp=1.0)
    assert set(made.__struct_fields__) == set(MoreOfAnEvent._options.fields)  # type: ignore[attr-defined] # a struct
    assert (made.event_id, made.page, made.timestamp) == ("e", None, 1.0)
    with pytest.raises(TypeError):
        twin(MoreOfAnEvent)("e", "u", "view", 1.0)


def test_twin_of_another_record_takes_its_fields_over() -> None:
    event = decoder.one(changed(page="/home"), NOW)
    made = twin(MoreOfAnEvent, of=Event)(event, level="high")
    assert (made.event_id, made.page, made.level, made.region) == ("e1", "/home", "high", None)
    with pytest.raises(TypeError):
        twin(MoreOfAnEvent, of=Event)(event, event_id="other")
