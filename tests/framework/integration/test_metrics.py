"""`/metrics` and the probes of a worker on real Kafka: what they say is what has happened."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.framework.service import Service, Worker

pytestmark = pytest.mark.kafka

START = 1_769_860_800.0
USERS = 20
EVENTS = 500
SOURCES = ("visits.raw", "visits.page-counts")
# By a bad value's code, how often it is sent.
BAD = {"not-json": (b'{"event_id": ', 3), "tombstone": (None, 2), "missing-field": (b'{"event_id": "x"}', 5)}
LABELS = ("table", "code", "le")

Samples = dict[tuple[str, ...], float]


def event(event_id: str, user: int, at: float, **fields: Any) -> tuple[bytes, bytes]:
    made = {"event_id": event_id, "user_id": f"u{user}", "action": "view", "page": "/a", "timestamp": at}
    return made["user_id"].encode(), json.dumps(made | fields).encode()  # type: ignore[attr-defined] # it is text


def messages() -> list[tuple[bytes | None, bytes | None]]:
    """Return events, each tenth of them twice, and bad values."""
    made: list[tuple[bytes | None, bytes | None]] = []
    for n in range(EVENTS):
        one = event(f"e{n}", n % USERS, START + n)
        made += [one, one] if n % 10 == 0 else [one]
    for value, times in BAD.values():
        made += [(b"u%d" % n, value) for n in range(times)]
    return made


def scrape(service: Service, worker: Worker) -> Samples:
    """Return the samples by name, topic without its prefix, and other labels; summed over partitions."""
    answer = worker.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: Samples = Counter()  # type: ignore[assignment] # its values are floats here
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            topic = sample.labels.get("topic")
            labels = [sample.labels[name] for name in LABELS if name in sample.labels]
            at = [] if topic is None else [topic.removeprefix(service.prefix)]
            found[(sample.name, *at, *labels)] += sample.value
    return found


def labelled(found: Samples, name: str) -> dict[str, float]:
    """Return the values of a metric, other than 0, by its last label."""
    return {key[-1]: value for key, value in found.items() if key[0] == name and value}


def wait_for(worker: Worker, path: str, status: int = 200) -> list[httpx.Response]:
    """Send requests until a response has the status; return all responses."""
    answers, deadline = [], time.monotonic() + 60
    while True:
        try:
            answers.append(worker.get(path))
            if answers[-1].status_code == status:
                return answers
        except httpx.TransportError:
            assert worker.process.poll() is None, worker.log.read_text()[-3000:]
        assert time.monotonic() < deadline, answers[-1].text if answers else "no answer"
        time.sleep(0.02)


def test_counters_are_the_truth(service: Service) -> None:
    worker = service.worker()
    wait_for(worker, "/ready")
    before = scrape(service, worker)
    for topic in SOURCES:
        assert before["millstream_events_total", topic] == before["millstream_lag_events", topic] == 0
        assert before["millstream_partitions", topic] == before["millstream_takeovers_total", topic] == 4
    service.send("visits.raw", messages())
    for topic in SOURCES:
        service.wait_done(topic=topic)
    after = scrape(service, worker)
    valid, duplicates = EVENTS + EVENTS // 10, EVENTS // 10
    assert after["millstream_events_total", "visits.raw"] == valid
    assert labelled(after, "millstream_duplicate_events_total") == {"seen": duplicates}
    assert labelled(after, "millstream_dead_letters_total") == {
        code: times for code, (_, times) in BAD.items()
    }
    sent = labelled(after, "millstream_outputs_total")
    assert sent.keys() == {"visits.clean", "visits.dead-letters", "visits.page-counts", "visits.page-totals"}
    for topic, count in sent.items():
        assert (topic, count) == (topic, len(service.read(topic)))
    assert sent["visits.clean"] == valid - duplicates
    for topic in SOURCES:
        events = after["millstream_events_total", topic]
        assert after["millstream_event_latency_seconds_count", topic] == events
        assert after["millstream_commit_duration_seconds_count", topic] > 0
        assert after["millstream_lag_events", topic] == after["millstream_batch_retries_total", topic] == 0
        assert after["millstream_state_keys", topic] > 0
    assert after["millstream_ready",] == 1
    restored_elsewhere(service, worker, SOURCES)


def restored_elsewhere(service: Service, first: Worker, sources: Sequence[str], **settings: str) -> None:
    """Have another worker take all over from the state logs, and see it say so."""
    assert first.stop() == 0
    service.workers.clear()
    second = service.worker("1", **settings)
    answers = wait_for(second, "/startup")
    wait_for(second, "/ready")
    found = scrape(service, second)
    for topic in sources:
        assert found["millstream_takeovers_total", topic] == 4
        assert found["millstream_takeover_duration_seconds_count", topic] == 4
        assert found["millstream_restored_records_total", topic] > 0
        assert found["millstream_events_total", topic] == 0
    assert found["millstream_rebalances_total",] >= 1
    assert answers[-1].json() == {"started": True}
    tables = [answer.json()["tables"] for answer in answers[:-1]]
    for shown in tables:
        assert all(0 <= table["restored"] <= table["partitions"] for table in shown.values())


def test_a_copy_says_how_far_it_is_behind(service: Service) -> None:
    first = service.worker("0").wait_ready()
    second = service.worker("1").wait_ready()
    service.send("visits.raw", [event(str(n), n % USERS, START + n) for n in range(1000)])
    service.wait_done()
    deadline = time.monotonic() + 30
    while True:
        both = [scrape(service, worker) for worker in (first, second)]
        # Each has copies of the partitions that the other owns.
        lags = [found.get(("millstream_standby_lag_records", "visits.raw")) for found in both]
        owned = [found["millstream_partitions", "visits.raw"] for found in both]
        if sum(owned) == 4 and lags == [0, 0]:
            break
        assert time.monotonic() < deadline, (owned, lags)
        time.sleep(0.2)
    assert sum(found["millstream_events_total", "visits.raw"] for found in both) == 1000
