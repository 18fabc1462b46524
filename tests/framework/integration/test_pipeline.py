"""A service in two stages on real Kafka: what goes in, what comes out, what can be asked."""

import asyncio
import json
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from millstream.kafka.partitioner import partition_for
from tests.framework.service import Service

pytestmark = pytest.mark.kafka

APP = "tests.framework.apps.visits"

GOOD: dict[str, Any] = {
    "event_id": "good",
    "user_id": "u1",
    "action": "view",
    "timestamp": "2026-01-31T12:00:00Z",
}


def event(**fields: Any) -> tuple[bytes, bytes]:
    made = GOOD | fields
    return made["user_id"].encode(), json.dumps(made).encode()


# Every kind of bad input: the code, its value, and the value that mends it (None: as it is, by a setting).
BAD: dict[str, tuple[bytes | None, bytes | None]] = {
    "tombstone": (None, b"{}"),
    "not-json": (b'{"event_id": "x"', b"{}"),
    "missing-field": (json.dumps({k: v for k, v in GOOD.items() if k != "action"}).encode(), b"{}"),
    "wrong-type": (json.dumps(GOOD | {"pieces": "3"}).encode(), b"{}"),
    "out-of-range": (json.dumps(GOOD | {"action": "fly"}).encode(), b"{}"),
    "impossible-time": (json.dumps(GOOD | {"timestamp": "2999-01-01T00:00:00Z"}).encode(), b"{}"),
    "too-large": (
        event(event_id="mended too-large", user_id="too-large", notes={"a": "x" * 300_000})[1],
        None,
    ),
}


def headers(record: Any) -> dict[str, str]:
    return {key: value.decode() for key, value in record.headers}


def values(service: Service, topic: str) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in service.read(topic)]


@pytest.mark.parametrize("code", BAD)
def test_bad_input_is_a_dead_letter_and_can_be_replayed(shared: Service, code: str) -> None:
    service, (bad, mended) = shared, BAD[code]
    service.workers[0].wait_ready()
    key = code.encode()
    service.send(
        "visits.raw",
        [
            event(event_id=f"before {code}", user_id=code),
            (key, bad),
            event(event_id=f"after {code}", user_id=code),
        ],
    )
    service.wait_done()
    (letter,) = [r for r in service.read("visits.dead-letters") if r.key == key]
    assert (letter.value, headers(letter)["code"]) == (bad, code)
    assert headers(letter)["reason"].endswith(".")
    raw = next(r for r in service.read("visits.raw") if (r.key, r.value) == (key, bad))
    origin = f"{service.topic('visits.raw')}/{raw.partition}/{raw.offset}"
    assert headers(letter)["origin"] == origin
    assert int(headers(letter)["time"]) == raw.timestamp
    clean = [json.loads(r.value)["event_id"] for r in service.read("visits.clean") if r.key == key]
    assert clean == [f"before {code}", f"after {code}"]

    assert f"{origin}  {code}:" in service.command("dead-letters", "list").stdout
    shown = service.command("dead-letters", "show", origin).stdout
    assert headers(letter)["reason"] in shown
    if mended is None:  # a setting mends it
        assert service.workers.pop().stop() == 0
        service.worker(MILLSTREAM_MAX_EVENT_BYTES="400000").wait_ready()
        service.command("dead-letters", "replay", "--code", code)
    else:
        file = service.folder / "mended.json"
        file.write_bytes(event(event_id=f"mended {code}", user_id=code)[1])
        service.command("dead-letters", "replay", origin, "--value", str(file))
    service.wait_done()
    replayed = [r for r in service.read("visits.clean") if r.key == key][-1]
    assert json.loads(replayed.value)["event_id"] == f"mended {code}"
    assert headers(replayed)["origin"] == origin


@pytest.fixture(scope="module")
def shared(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that several tests use, each with a key of its own."""
    with Service(kafka, tmp_path_factory.mktemp("shared"), APP, "visits.raw") as service:
        service.worker().wait_ready()
        yield service


def test_outputs_and_tables(service: Service) -> None:
    worker = service.worker().wait_ready()
    service.send(
        "visits.raw",
        [
            event(event_id="1", page="/a"),
            event(event_id="2", page="/a", user_id="u2"),
            event(event_id="1", page="/a"),
            event(event_id="3", page="/a", timestamp=1769860861),
            event(event_id="4", action="buy", pieces=2),
            event(event_id="5", action="buy", pieces=3, timestamp=1769860800_500),
        ],
    )
    service.wait_done()
    service.wait_done(topic="visits.page-counts")
    clean = {json.loads(r.value)["event_id"]: r for r in service.read("visits.clean")}
    assert sorted(clean) == ["1", "2", "3", "4", "5"]
    raw = {(r.partition, r.offset): r for r in service.read("visits.raw")}
    for record in clean.values():
        topic, partition, offset = headers(record)["origin"].rsplit("/", 2)
        source = raw[int(partition), int(offset)]
        assert (topic, source.key) == (service.topic("visits.raw"), record.key)
        assert json.loads(source.value)["event_id"] == json.loads(record.value)["event_id"]
    totals = {(t["page"], t["window_start"]): t["views"] for t in values(service, "visits.page-totals")}
    assert totals == {("/a", 1769860800): 2, ("/a", 1769860860): 1}

    answer = worker.get("/tables/page-views//a").json()
    assert [(w["start"], w["views"]) for w in answer["windows"]] == [
        ("2026-01-31T12:00:00Z", 2),
        ("2026-01-31T12:01:00Z", 1),
    ]
    assert (answer["total"], answer["partial"]) == ({"views": 3}, False)
    url = f"http://127.0.0.1:{worker.port}"
    for number, part in enumerate(answer["partitions"]):
        assert (part["partition"], part["worker"], part["role"]) == (number, url, "owner")
        assert part["staleness"] == 0
    ends = Counter(partition for partition, _ in raw)
    assert {part["partition"]: part["offset"] for part in answer["partitions"]} == {
        n: ends[n] for n in range(4)
    }
    (only,) = worker.get("/tables/page-totals//a").json()["partitions"]
    assert only["partition"] == partition_for(b"/a", 4)
    assert worker.get("/tables/sales/u1").json()["total"] == {"purchases": 2, "pieces": 5}
    assert worker.get("/tables/users/u1").json()["value"] == {"visits": 4}
    names = [t["name"] for t in worker.get("/tables").json()["tables"]]
    assert names == ["page-totals", "page-views", "sales", "seen", "users"]
    health = worker.get("/health").json()
    assert health["status"] == "ok"
    assert [p["lag"] for p in health["partitions"]] == [0] * 8


def test_bursts_that_are_larger_than_a_batch_come_through_whole(service: Service) -> None:
    service.worker().wait_ready()
    for burst in range(4):
        time.sleep(burst / 2)  # the worker waits for records, for several lengths of time
        service.send("visits.raw", [event(event_id=f"{burst}-{n}") for n in range(12_000)])
    service.wait_done()
    clean = Counter(json.loads(r.value)["event_id"] for r in service.read("visits.clean"))
    assert clean == Counter(f"{burst}-{n}" for burst in range(4) for n in range(12_000))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/table", 404),
        ("/router", 404),
        ("/tables/none/key", 404),
        ("/tables/seen/none", 404),
        ("/tables/page-views//a?from=yesterday", 400),
        ("/tables/page-views//a?to=1e400", 400),
        ("/tables/page-views//a?to=99999999999999999999999", 400),
        ("/tables/page-views//a?from=nan", 400),
        ("/tables/page-views//a?from=-5", 400),
        ("/tables/page-views//a?limit=0", 400),
        ("/tables/page-views//a?limit=x", 400),
        ("/tables/page-views//a?limits=1", 400),
        ("/tables/page-views//a?max_staleness=-1", 400),
        ("/tables/page-views//a?local=yes", 400),
        ("/tables/page-views?from=1", 400),
        ("/tables/page-views?top=0", 400),
        ("/tables/page-views?top=1&by=sales", 400),
        ("/tables/sales?top=1", 400),
        ("/tables/seen?top=1", 400),
        ("/tables/none", 404),
    ],
)
def test_errors_of_the_views_are_problems(shared: Service, path: str, status: int) -> None:
    answer = shared.workers[-1].wait_ready().get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert len(answer.json()["detail"]) > 20


def test_the_service_goes_on_with_its_state(service: Service) -> None:
    first = service.worker().wait_ready()
    service.send("visits.raw", [event(event_id=str(n), page="/a") for n in range(100)])
    service.wait_done()
    assert first.stop() == 0
    second = service.worker().wait_ready()
    service.send("visits.raw", [event(event_id=str(n), page="/a") for n in range(50, 150)])
    service.wait_done()
    assert second.get("/tables/page-views//a").json()["total"] == {"views": 150}
    assert len(service.read("visits.clean")) == 150


def test_the_state_is_restored_on_another_disk(service: Service) -> None:
    first = service.worker("0").wait_ready()
    service.send("visits.raw", [event(event_id=str(n), page="/a", user_id=f"u{n % 7}") for n in range(1000)])
    service.wait_done()
    assert first.stop() == 0
    second = service.worker("1").wait_ready()
    assert second.get("/tables/page-views//a").json()["total"] == {"views": 1000}
    assert second.get("/tables/seen/999").status_code == 200


def test_events_that_are_deleted_before_they_are_fetched_are_told(service: Service) -> None:
    worker = service.worker().wait_ready()
    topic = service.topic("visits.raw")
    users = [f"u{n}" for n in range(40)]  # of all partitions
    service.send("visits.raw", [event(event_id=user, user_id=user) for user in users])
    service.wait_done()
    worker.process.send_signal(signal.SIGSTOP)
    try:
        # A fetch that is under way may still bring the first of these, but not the second.
        for part in ("first", "second"):
            service.send("visits.raw", [event(event_id=f"{part} {u}", user_id=u) for u in users])
        asyncio.run(delete(service.kafka, topic))
    finally:
        worker.process.send_signal(signal.SIGCONT)
    service.send("visits.raw", [event(event_id=f"after {user}", user_id=user) for user in users])
    service.wait_done()
    ids = {json.loads(record.value)["event_id"] for record in service.read("visits.clean")}
    assert {f"after {user}" for user in users} <= ids
    gone = re.findall(r"visits\.raw/(\d): the events (\d+) to (\d+) were lost", worker.log.read_text())
    assert {number for number, _, _ in gone} == set("0123")
    lost = {f"{part} {user}" for part in ("first", "second") for user in users} - ids
    assert sum(int(last) - int(first) + 1 for _, first, last in gone) == len(lost)
    assert {f"second {user}" for user in users} <= lost
    assert worker.stop() == 0


async def delete(kafka: str, topic: str) -> None:
    """Delete all records that a topic has now, as its retention would."""
    partitions = [TopicPartition(topic, number) for number in range(4)]
    async with AIOKafkaConsumer(bootstrap_servers=kafka) as consumer:
        ends = await consumer.end_offsets(partitions)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_records({tp: RecordsToDelete(end) for tp, end in ends.items()})
    finally:
        await admin.close()


def test_a_data_directory_is_for_one_worker(service: Service) -> None:
    service.worker("0").wait_ready()
    second = service.worker("0")
    assert second.process.wait(30) == 1
    assert "is in use by another worker" in second.log.read_text()
    assert "MILLSTREAM_WORKER" in second.log.read_text()


def test_a_worker_refuses_topics_that_are_not_as_declared(service: Service) -> None:
    service.command("topics", MILLSTREAM_PARTITIONS="3")
    worker = service.worker()
    assert worker.process.wait(30) == 1
    assert "has 3 partitions, 4 are declared: set MILLSTREAM_PARTITIONS=3" in worker.log.read_text()
    assert "Traceback" not in worker.log.read_text()
    refused = service.command("topics", MILLSTREAM_PARTITIONS="3", MILLSTREAM_RETENTION="P1D", check=False)
    assert refused.returncode == 1
    assert "retention.ms is 604800000, 86400000 is declared" in refused.stderr
    assert "ok" in service.command("topics", MILLSTREAM_PARTITIONS="3").stdout


def test_a_worker_without_kafka_says_so(service: Service) -> None:
    worker = service.worker(KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert worker.process.wait(60) == 1
    assert "Kafka does not answer at 127.0.0.1:1" in worker.log.read_text()


def test_a_wrong_setting_says_so(service: Service) -> None:
    done = service.command("topics", check=False, MILLSTREAM_PARTITIONS="many")
    assert done.returncode == 1
    assert "MILLSTREAM_PARTITIONS" in done.stderr
    assert "many" in done.stderr


def test_tail_shows_the_last_records(service: Service) -> None:
    service.command("topics")
    service.send("visits.raw", [event(event_id=str(n)) for n in range(20)])
    lines = service.command("tail", "-n", "3", service.topic("visits.raw")).stdout.splitlines()
    assert [json.loads(line.split("\t")[2])["event_id"] for line in lines] == ["17", "18", "19"]
    missing = service.command("tail", "none", check=False)
    assert (missing.returncode, "declares no topic 'none'" in missing.stderr) == (1, True)
