"""Which activity events are valid, and what is made of them."""

import json
from datetime import timedelta
from typing import Any

import pytest

from millstream.records import CODES, Invalid, twin
from millstream.serde.json import Decoder, encode
from models.activity import ActivityEvent, EnrichedActivity, enriched, page_count, risk_level

NOW = 1_800_000_000_000
GOOD: dict[str, Any] = {
    "event_id": "e1",
    "user_id": "u1",
    "action": "view",
    "timestamp": "2026-01-31T12:00:00Z",
}

decoder = Decoder(ActivityEvent, max_bytes=2000, max_future=timedelta(hours=24))


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
        (changed(action=...), "missing-field"),
        (changed(user_id=None), "missing-field"),
        (changed(user_id=3.5), "wrong-type"),
        (changed(user_id=True), "wrong-type"),
        (changed(action=None), "wrong-type"),
        (changed(amount="3"), "wrong-type"),
        (changed(amount=True), "wrong-type"),
        (changed(quantity=1.5), "wrong-type"),
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


def test_twin_has_the_fields_of_its_record() -> None:
    made = twin(EnrichedActivity)(event_id="e", user_id="u", action="view", timestamp=1.0)
    assert set(made.__struct_fields__) == set(EnrichedActivity._options.fields)  # type: ignore[attr-defined] # a struct
    assert (made.event_id, made.page, made.timestamp) == ("e", None, 1.0)
    with pytest.raises(TypeError):
        twin(EnrichedActivity)("e", "u", "view", 1.0)


@pytest.mark.parametrize(
    ("amount", "level"),
    [(None, "low"), (-5, "low"), (500, "low"), (500.01, "medium"), (1000, "medium"), (1000.01, "high")],
)
def test_risk_level(amount: float | None, level: str) -> None:
    assert risk_level(amount) == level


def test_enriched_has_every_field_of_the_event() -> None:
    fields = {
        "page": "/home",
        "amount": 750.5,
        "quantity": 2,
        "currency": "GBP",
        "country": "France",
        "session_id": "s",
        "attributes": {"a": [1]},
    }
    out = json.loads(encode(enriched(decoder.one(changed(**fields), NOW))))
    assert out == GOOD | fields | {"timestamp": 1769860800.0, "risk_level": "medium", "region": "Europe"}


def test_page_count() -> None:
    assert json.loads(encode(page_count("/a", 60, 120, partition=3, views=7, version=9))) == {
        "page": "/a",
        "partition": 3,
        "window_start": 60,
        "window_end": 120,
        "views": 7,
        "version": 9,
    }
