"""The main job on real Kafka: what goes in, what comes out, what can be asked."""

import json
from collections import Counter

import pytest

from millstream.kafka.partitioner import partition_for
from tests.framework.integration.test_pipeline import event, headers
from tests.framework.service import Service

pytestmark = pytest.mark.kafka


def test_outputs_and_tables(service: Service) -> None:
    worker = service.worker().wait_ready()
    service.send(
        "activity.raw",
        [
            event(event_id="1", page="/a"),
            event(event_id="2", page="/a", user_id="u2"),
            event(event_id="1", page="/a"),
            event(event_id="3", page="/a", timestamp=1769860861),
            event(event_id="4", action="purchase", amount=1000.5, country="FR"),
            event(event_id="5", action="refund", amount=-0.3, country="FR", timestamp=1769860800_500),
            event(event_id="6", action="purchase", amount=0.1),
        ],
    )
    service.wait_done()
    enriched = {json.loads(r.value)["event_id"]: r for r in service.read("activity.enriched")}
    assert sorted(enriched) == ["1", "2", "3", "4", "5", "6"]
    assert enriched["2"].key == b"u2"
    found = json.loads(enriched["4"].value)
    assert (found["risk_level"], found["region"], found["timestamp"]) == ("high", "Europe", 1769860800.0)
    for record in enriched.values():
        topic, partition, offset = headers(record)["origin"].rsplit("/", 2)
        raw = next(
            r
            for r in service.read("activity.raw")
            if (r.partition, r.offset) == (int(partition), int(offset))
        )
        assert (topic, raw.key) == (service.topic("activity.raw"), record.key)
        assert json.loads(raw.value)["event_id"] == json.loads(record.value)["event_id"]

    counts: dict[tuple[int, int], int] = {}
    for record in service.read("activity.page-counts"):
        assert record.key == b"/a"
        count = json.loads(record.value)
        counts[count["partition"], count["window_start"]] = count["views"]
    assert Counter(counts.values()) == ({1: 3} if len(counts) == 3 else {2: 1, 1: 1})

    answer = worker.get("/tables/page-views//a").json()
    assert [(w["start"], w["views"]) for w in answer["windows"]] == [
        ("2026-01-31T12:00:00Z", 2),
        ("2026-01-31T12:01:00Z", 1),
    ]
    assert answer["total"] == {"views": 3}
    assert answer["partial"] is False
    url = f"http://127.0.0.1:{worker.port}"
    for number, part in enumerate(answer["partitions"]):
        assert (part["partition"], part["worker"], part["role"]) == (number, url, "owner")
        assert part["staleness"] == 0
    ends = Counter(record.partition for record in service.read("activity.raw"))
    assert {part["partition"]: part["offset"] for part in answer["partitions"]} == {
        n: ends[n] for n in range(4)
    }
    (only,) = worker.get("/tables/page-totals//a").json()["partitions"]
    assert only["partition"] == partition_for(b"/a", 4)
    listed = worker.get("/tables/page-views", limit=1).json()
    assert listed["keys"] == [{"key": "/a", "newest": answer["windows"][-1]}]
    first = worker.get("/tables/sales", top=1, by="amount", at="2026-01-31T12:00:30Z").json()
    assert (first["start"], first["top"][0]["key"]) == ("2026-01-31T12:00:00Z", "FR")
    page = worker.get("/tables/seen", limit=2, local="true").json()
    assert ([one["key"] for one in page["keys"]], page["next"]) == (["1", "2"], "2")
    later = worker.get("/tables/page-views//a", **{"from": "2026-01-31T12:01", "to": 1769860920}).json()
    assert later["total"] == {"views": 1}
    sales = worker.get("/tables/sales/FR").json()
    assert sales["total"] == {"purchases": 1, "refunds": 1, "amount": 1000.2}
    assert worker.get("/tables/sales/unknown").json()["total"]["amount"] == 0.1
    seen = worker.get("/tables/seen/1").json()
    assert seen["timestamp"] == "2026-01-31T12:00:00Z"
    names = [t["name"] for t in worker.get("/tables").json()["tables"]]
    assert names == ["page-totals", "page-views", "sales", "seen"]
    service.wait_done(topic="activity.page-counts")
    health = worker.get("/health").json()
    assert health["status"] == "ok"
    assert [p["lag"] for p in health["partitions"]] == [0] * 8
