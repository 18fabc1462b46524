"""Events as people send them: where a Record's field may come from, nested Records, and what is refused."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import faust
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from millstream.errors import DeclarationError
from millstream.fields import Fallback, From
from millstream.records import EventTime, Invalid, twin
from millstream.serde.json import Decoder, encode

NOW = 1_700_000_000_000


@dataclass
class Kafka:
    value: bytes | None
    key: bytes | None = None
    offset: int = 7
    timestamp: int = NOW
    headers: tuple[tuple[str, bytes], ...] = ()


class Sale(faust.Record):
    sale_id: Annotated[
        str, Meta(min_length=1, max_length=30), From("id", numbers=True, fallback=Fallback.ORIGIN)
    ]
    user_id: Annotated[str, Meta(max_length=9), From("userid", "user", numbers=True)]
    at: Annotated[EventTime, From("timestamp", fallback=Fallback.RECORD_TIME)]
    amount: float = 0.0


class Noted(faust.Record):
    key: Annotated[str, From(fallback=Fallback.RECORD_KEY)]
    digest: Annotated[str, From(fallback=Fallback.CONTENT)]
    note: Annotated[str | None, From("text")] = None
    at: EventTime = 0.0


def decoder(record: Any, time_field: str | None = "at") -> Decoder[Any]:
    return Decoder(record, max_bytes=2000, max_future=timedelta(hours=24), time_field=time_field)


def decoded(record: Any, value: Any, **more: Any) -> Any:
    (event,) = decoder(record).many([Kafka(json.dumps(value).encode(), **more)], "sales/3")
    return event


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"sale_id": "s", "user_id": "u", "at": 5}, ("s", "u", 5.0)),
        ({"user_id": 101, "amount": 250}, ("sales/3/7", "101", NOW / 1000)),
        ({"timestamp": "1970-01-01T00:00:09", "userid": "user123"}, ("sales/3/7", "user123", 9.0)),
        ({"id": 7, "user": "a", "timestamp": "1970-01-01T00:00:09Z"}, ("7", "a", 9.0)),
        ({"sale_id": None, "id": "x", "user_id": None, "userid": None, "user": 3}, ("x", "3", NOW / 1000)),
        ({"sale_id": "own", "id": "other", "user_id": "own", "user": "other"}, ("own", "own", NOW / 1000)),
        ({"user_id": -3, "at": 1.7e12}, ("sales/3/7", "-3", 1.7e9)),
    ],
)
def test_fields_come_from_where_they_may(value: Any, expected: tuple[str, str, float]) -> None:
    sale = decoded(Sale, value)
    assert (sale.sale_id, sale.user_id, sale.at) == expected


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"id": 1}, "missing-field"),
        ({"user_id": 1.5}, "wrong-type"),
        ({"user_id": True}, "wrong-type"),
        ({"user_id": 10**10}, "out-of-range"),
        ({"user": 10**400}, "out-of-range"),
        ({"user_id": 1, "id": ""}, "out-of-range"),
        ({"user_id": 1, "timestamp": "soon"}, "impossible-time"),
        ({"user_id": 1, "timestamp": -5}, "impossible-time"),
        ({"user_id": 1, "at": NOW + 10**9}, "impossible-time"),
        ([1], "wrong-type"),
        ("x" * 3000, "too-large"),
    ],
)
def test_what_cannot_be_read_says_why(value: Any, code: str) -> None:
    found = decoded(Sale, value)
    assert isinstance(found, Invalid)
    assert found.code == code, found.reason


def test_a_missing_field_names_all_its_names() -> None:
    assert "`user_id`, `userid`, `user`" in decoded(Sale, {"id": 1}).reason


def test_key_content_and_the_origin_of_a_replay() -> None:
    value = {"text": "hello", "at": 1}
    noted = decoded(Noted, value, key=b"k7")
    assert (noted.key, noted.note, len(noted.digest)) == ("k7", "hello", 32)
    assert decoded(Noted, value, key=b"k8").digest == noted.digest
    assert decoded(Noted, {**value, "at": 2}, key=b"k7").digest != noted.digest
    assert decoded(Noted, {"at": 1}, key=b"k").note is None
    assert decoded(Noted, value).code == "missing-field"
    assert decoded(Noted, value, key=b"\xff").code == "wrong-type"
    replayed = decoded(Sale, {"user_id": "u"}, headers=(("replay-of", b"sales/0/2"),))
    assert replayed.sale_id == "sales/0/2"


TIMES = st.sampled_from(
    ["1970-01-01T00:00", "2026-01-31", "20260131T120000", "2026-01-31T12:00:00,5Z", 1e12, 5]
)


@settings(max_examples=500, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.none()
            | st.text(max_size=12)
            | st.integers()
            | st.floats(allow_nan=False)
            | st.booleans()
            for name in ("sale_id", "id", "user_id", "userid", "user", "at", "timestamp", "amount")
        },
    )
)
def test_a_valid_event_is_the_same_with_and_without_other_names(value: dict[str, Any]) -> None:
    """Whatever the plain decoder accepts, the tolerant one accepts alike."""

    class Plain(faust.Record):
        sale_id: Annotated[str, Meta(min_length=1, max_length=30)]
        user_id: Annotated[str, Meta(max_length=9)]
        at: EventTime
        amount: float = 0.0

    (plain,) = decoder(Plain).many([Kafka(json.dumps(value).encode())])
    tolerant = decoded(Sale, value)
    if not isinstance(plain, Invalid):
        assert encode(plain) == encode(tolerant)


def test_another_name_of_another_type_does_not_matter_where_the_own_name_does() -> None:
    odd = {"sale_id": "s", "user_id": "u", "at": "1970-01-01T00:00", "id": 1.5, "userid": [], "timestamp": {}}
    assert decoded(Sale, odd).at == 0.0


def test_the_fast_and_the_tolerant_decoder_agree() -> None:
    values = [{"user_id": str(i), "sale_id": str(i), "at": i} for i in range(3)] + [{"user": 1}]
    found = decoder(Sale).many([Kafka(json.dumps(value).encode()) for value in values], "s/0")
    assert [event.user_id for event in found] == ["0", "1", "2", "1"]


class Place(faust.Record):
    city: Annotated[str, Meta(min_length=1)]
    seen: EventTime | None = None


class Order(faust.Record):
    order_id: str
    at: EventTime
    home: Place
    stops: list[Place] = []  # noqa: RUF012 (a field's default)
    named: dict[str, Place] | None = None


def test_nested_records_are_decoded_and_sent() -> None:
    value = {"order_id": "o", "at": 1, "home": {"city": "Oslo", "seen": "1970-01-01T00:01:00Z"}}
    order = decoded(Order, {**value, "stops": [{"city": "Rome"}], "named": {"a": {"city": "Bonn"}}})
    assert (order.home.city, order.home.seen, order.stops[0].city) == ("Oslo", 60.0, "Rome")
    assert order.named["a"].city == "Bonn"
    assert json.loads(encode(order))["home"] == {"city": "Oslo", "seen": 60.0}
    assert decoded(Order, {**value, "stops": [{"city": ""}]}).code == "out-of-range"
    assert decoded(Order, {**value, "home": {}}).code == "missing-field"
    home = twin(Place)(city="Oslo")
    assert (
        twin(Order)(order_id="o", at=1.0, home=home).stops
        is not twin(Order)(order_id="o", at=1.0, home=home).stops
    )


def test_a_plain_record_is_sent_and_what_has_no_form_is_refused_by_name() -> None:
    order = Order(order_id="o", at=1.0, home=Place(city="Oslo"), stops=[Place(city="Rome")])
    sent = json.loads(encode(order))
    assert (sent["home"]["city"], sent["stops"][0]["city"]) == ("Oslo", "Rome")
    assert "__faust" not in sent
    with pytest.raises(NotImplementedError, match="a Kafka cannot be sent"):
        encode({"a": [object.__new__(type("Kafka", (), {}))]})


class TwoOfOneName(faust.Record):
    a: Annotated[str, From("id")]
    b: Annotated[str, From("id")]


class OwnName(faust.Record):
    a: Annotated[str, From("b")]
    b: str


class NumbersOfAFloat(faust.Record):
    a: Annotated[float, From(numbers=True)]


class TimeOfText(faust.Record):
    a: Annotated[str, From(fallback=Fallback.RECORD_TIME)]


class IdOfANumber(faust.Record):
    a: Annotated[int, From(fallback=Fallback.ORIGIN)]


class WithinTheType(faust.Record):
    a: Annotated[str, From("x")] | None = None


class NoForm(faust.Record):
    a: list[complex]


class NoFormWithin(faust.Record):
    home: NoForm


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (TwoOfOneName, "TwoOfOneName.b: the name 'id' is another field's"),
        (OwnName, "OwnName.a: the name 'b' is another field's"),
        (NumbersOfAFloat, "is for a field of type str"),
        (TimeOfText, "is for a field of type EventTime"),
        (IdOfANumber, "is for a field of type str"),
        (WithinTheType, r"WithinTheType.a: `From` belongs to the whole field"),
        (NoForm, "NoForm.a has the type complex"),
        (NoFormWithin, "NoForm.a has the type complex"),
    ],
)
def test_what_cannot_be_declared_is_refused_at_once(record: Any, says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        decoder(record, None)


def test_other_types_that_json_has_a_form_for() -> None:
    class Other(faust.Record):
        when: datetime
        price: Decimal
        at: EventTime

    other = decoded(Other, {"when": "2026-01-01T00:00:00Z", "price": "1.10", "at": 1})
    assert (other.when.year, str(other.price)) == (2026, "1.10")
