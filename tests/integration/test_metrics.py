"""`/metrics` and the probes of a worker on real Kafka: what they say is what has happened."""

import json
from collections import Counter
from typing import Any

import pytest

from tests.framework.integration.test_metrics import labelled, restored_elsewhere, scrape, wait_for
from tests.framework.service import Service

pytestmark = pytest.mark.kafka

START = 1_769_860_800.0
USERS = 20
EVENTS = 500
ROUNDS = 6
AGENTS = "activity,page_totals,users"
SOURCES = ("activity.raw", "activity.enriched", "activity.page-counts")
# By a bad value's code, how often each round sends it.
BAD = {"not-json": (b'{"event_id": ', 3), "tombstone": (None, 2), "missing-field": (b'{"event_id": "x"}', 5)}


def event(event_id: str, user: int, at: float, **fields: Any) -> tuple[bytes, bytes]:
    made = {"event_id": event_id, "user_id": f"u{user}", "action": "view", "page": "/a", "timestamp": at}
    return made["user_id"].encode(), json.dumps(made | fields).encode()  # type: ignore[attr-defined] # it is text


def messages(round_: int) -> list[tuple[bytes | None, bytes | None]]:
    """Return new events, each tenth of them twice, bad values, and from the third round on late events."""
    hour = START + round_ * 3600
    made: list[tuple[bytes | None, bytes | None]] = []
    for n in range(EVENTS):
        one = event(f"{round_}-{n}", n % USERS, hour + n)
        made += [one, one] if n % 10 == 0 else [one]
    for value, times in BAD.values():
        made += [(b"u%d" % n, value) for n in range(times)]
    if round_ >= 2:
        made += [event(f"late-{round_}-{n}", n, START + n) for n in range(USERS)]
    return made


def test_counters_are_the_truth(service: Service) -> None:
    worker = service.worker(MILLSTREAM_AGENTS=AGENTS)
    for answer in wait_for(worker, "/startup")[:-1]:
        assert answer.status_code == 503
        assert answer.json().keys() == {"started", "joined", "tables", "references"}
    for answer in wait_for(worker, "/ready")[:-1]:
        assert answer.status_code == 503
        assert all(reason.keys() == {"code", "detail"} for reason in answer.json()["reasons"])
    assert wait_for(worker, "/live")[-1].json() == {"live": True}

    before = scrape(service, worker)
    for topic in SOURCES:
        assert before["millstream_events_total", topic] == 0
        assert before["millstream_partitions", topic] == before["millstream_takeovers_total", topic] == 4
        assert before["millstream_restoring_partitions", topic] == before["millstream_lag_events", topic] == 0
    assert before["millstream_ready",] == 1
    assert labelled(before, "millstream_dead_letters_total") == {}

    valid = bad = 0
    last = before
    for round_ in range(ROUNDS):
        made = messages(round_)
        service.send("activity.raw", made)
        bad += sum(times for _, times in BAD.values())
        valid += len(made) - sum(times for _, times in BAD.values())
        during = scrape(service, worker)
        assert during["millstream_events_total", "activity.raw"] <= valid
        counters = [key for key in last if key[0].endswith(("_total", "_count", "_bucket"))]
        assert all(during[key] >= last[key] for key in counters)
        assert worker.get("/ready").status_code in (200, 503)
        last = during
    for topic in SOURCES:
        service.wait_done(topic=topic)
    after = scrape(service, worker)

    duplicates = ROUNDS * len(range(0, EVENTS, 10))
    assert after["millstream_events_total", "activity.raw"] == valid
    assert labelled(after, "millstream_duplicate_events_total") == {"seen": duplicates}
    assert labelled(after, "millstream_dead_letters_total") == {
        code: times * ROUNDS for code, (_, times) in BAD.items()
    }
    assert after["millstream_events_total", "activity.enriched"] == valid - duplicates
    late = Counter(dict(record.headers)["table"].decode() for record in service.read("activity.late"))
    assert len(late) >= 2
    assert labelled(after, "millstream_late_events_total") == late
    sent = labelled(after, "millstream_outputs_total")
    assert {
        "activity.enriched",
        "activity.dead-letters",
        "activity.late",
        "activity.page-totals",
    } <= sent.keys()
    for topic, count in sent.items():
        # Watermark markers have no value.
        records = [r for r in service.read(topic) if topic != "activity.partials" or r.value is not None]
        assert (topic, count) == (topic, len(records))
    assert sent["activity.dead-letters"] == bad
    for topic in SOURCES:
        events = after["millstream_events_total", topic]
        assert after["millstream_event_latency_seconds_count", topic] == events
        assert after["millstream_event_latency_seconds_bucket", topic, "60.0"] == events
        assert 0 < after["millstream_batch_duration_seconds_count", topic] <= events + bad
        assert after["millstream_commit_duration_seconds_count", topic] > 0
        assert after["millstream_lag_events", topic] == after["millstream_batch_retries_total", topic] == 0
        assert after["millstream_state_keys", topic] > 0
    assert after["millstream_state_memory_bytes", "activity.raw"] > 0
    assert after["millstream_ready",] == 1
    assert after["process_resident_memory_bytes",] > 10_000_000
    assert after["millstream_event_loop_lag_seconds_count",] > 0

    restored_elsewhere(service, worker, SOURCES, MILLSTREAM_AGENTS=AGENTS)
