import json
from collections import Counter
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.generator.broken import WAYS
from app.generator.synthetic import UNPACED_RATE, events
from millstream.records import CODES, Invalid
from millstream.serde.json import Decoder
from millstream.sources.record import Record
from models.activity import ActivityEvent

START = 1_767_225_600.0  # 2026-01-01
DECODER = Decoder(ActivityEvent, max_bytes=262_144, max_future=timedelta(hours=24))
VIEW = {"event_id": "e", "user_id": "u", "action": "view", "timestamp": "2026-01-01T00:00:00Z", "page": "/"}


def make(seed: int = 1, **options: Any) -> list[Record]:
    plain = {"count": 20_000, "rate": 1000.0, "start": START, "users": 300, "pages": 50}
    clean = {"duplicates": 0.0, "invalid": 0.0, "late": 0.0}
    return list(events(seed, **(plain | clean | options)))


def decoded(record: Record) -> Any:
    try:
        return DECODER.one(record.value, int(START * 1000))
    except Invalid as exc:
        return exc


def test_same_seed_and_start_give_the_same_bytes_and_keys() -> None:
    options = {"duplicates": 0.05, "invalid": 0.02, "late": 0.02}
    assert make(**options) == make(**options)


@pytest.mark.parametrize("other", [{"seed": 2}, {"start": START + 1}, {"users": 301}])
def test_another_seed_start_or_size_gives_other_ids(other: dict[str, Any]) -> None:
    ids = {json.loads(record.value or b"")["event_id"] for record in make(count=2000)}
    assert ids.isdisjoint(json.loads(record.value or b"")["event_id"] for record in make(count=2000, **other))


def test_a_shorter_stream_without_repeats_is_the_begin_of_a_longer_one() -> None:
    options = {"invalid": 0.02, "late": 0.02}
    endless = events(
        1, count=None, rate=1000.0, start=START, users=300, pages=50, duplicates=0.0, invalid=0.02, late=0.02
    )
    assert make(count=500, **options) == list(islice(endless, 500))


def test_valid_events_decode_and_agree_with_key_and_time() -> None:
    for record in make(late=0.1):
        event = DECODER.one(record.value, int(START * 1000))
        assert record.key == event.user_id.encode()
        assert record.event_time == event.timestamp


def test_event_time_advances_with_the_rate() -> None:
    assert [record.event_time for record in make(count=4, rate=4.0)] == [START + n / 4 for n in range(4)]
    assert make(count=2, rate=0.0)[1].event_time == pytest.approx(START + 1 / UNPACED_RATE, abs=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_the_share_of_repeats(share: float) -> None:
    records = make(duplicates=share)
    counts = Counter(record.value for record in records)
    assert set(counts.values()) <= {1, 2}
    repeats = sum(count == 2 for count in counts.values())
    assert repeats / len(counts) == pytest.approx(share, abs=0.01)


def test_a_repeat_comes_soon_and_byte_for_byte() -> None:
    seen: dict[str, tuple[int, Record]] = {}
    gaps = []
    for number, record in enumerate(make(duplicates=0.1)):
        first = seen.setdefault(json.loads(record.value or b"")["event_id"], (number, record))
        assert first[1] == record
        if first[0] != number:
            gaps.append(number - first[0])
    assert min(gaps) > 0
    assert max(gaps) <= 600


def test_the_share_of_late_events() -> None:
    records = make(late=0.1)
    behind = [START + number / 1000 - record.event_time for number, record in enumerate(records)]
    late = [seconds for seconds in behind if seconds > 1]
    assert len(late) / len(records) == pytest.approx(0.1, abs=0.01)
    assert min(late) >= 119
    assert max(late) <= 541


def test_the_share_of_broken_values_of_all_kinds() -> None:
    records = make(invalid=0.2)
    codes = Counter(event.code for event in map(decoded, records) if isinstance(event, Invalid))
    assert codes.total() / len(records) == pytest.approx(0.2, abs=0.01)
    assert set(codes) == set(CODES)
    assert codes["too-large"] < codes.total() / 50


@pytest.mark.parametrize(
    ("code", "way"), [(code, n) for code, ways in WAYS.items() for n in range(len(ways))]
)
def test_each_way_to_break_an_event_gets_its_code(code: str, way: int) -> None:
    with pytest.raises(Invalid) as caught:
        DECODER.one(WAYS[code][way](VIEW), int(START * 1000))
    assert caught.value.code == code


def test_visits_are_skewed_and_make_sense() -> None:
    records = [DECODER.one(record.value, int(START * 1000)) for record in make(count=50_000)]
    actions = Counter(event.action for event in records)
    assert set(actions) == {"view", "click", "search", "login", "logout", "rating", "purchase", "refund"}
    assert actions["view"] > len(records) / 2
    users = Counter(event.user_id for event in records)
    assert users["user-00000"] > 5 * sum(users.values()) / 300
    pages = Counter(event.page for event in records if event.action == "view")
    assert pages.most_common(1)[0][0] == "/"
    amounts = [event.amount for event in records if event.action == "purchase"]
    assert min(amounts) > 0
    assert any(500 < amount <= 1000 for amount in amounts)
    assert any(amount > 1000 for amount in amounts)


def test_a_session_is_one_users_and_ends_with_logout() -> None:
    owners: dict[str, str] = {}
    over = set()
    for record in make():
        event = DECODER.one(record.value, int(START * 1000))
        assert owners.setdefault(event.session_id, event.user_id) == event.user_id
        assert event.session_id not in over
        if event.action == "logout":
            over.add(event.session_id)
    assert over


def test_a_refund_gives_a_purchase_back() -> None:
    bought: dict[tuple[str, str], set[tuple[float, int]]] = {}
    refunds = 0
    for record in make():
        event = DECODER.one(record.value, int(START * 1000))
        if event.action == "purchase":
            bought.setdefault((event.user_id, event.page), set()).add((event.amount, event.quantity))
        elif event.action == "refund":
            refunds += 1
            assert (-event.amount, -event.quantity) in bought[event.user_id, event.page]
    assert refunds


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(),
    count=st.integers(0, 300),
    rate=st.one_of(st.just(0.0), st.floats(0.001, 1e6)),
    start=st.floats(0, 2e9),
    users=st.integers(1, 50),
    pages=st.integers(1, 50),
    duplicates=st.floats(0, 1),
    invalid=st.floats(0, 1),
    late=st.floats(0, 1),
)
def test_any_options_give_the_count_and_keys_of_the_users(count: int, users: int, **options: Any) -> None:
    records = list(events(options.pop("seed"), count=count, users=users, **options))
    assert len(records) == count
    assert {record.key for record in records} <= {f"user-{n:05d}".encode() for n in range(users)}
    assert all(record.event_time >= 0 for record in records)
