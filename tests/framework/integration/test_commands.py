"""Commands for any topic on a real Kafka: load, produce, tail, dead letters of all topics."""

import time
from pathlib import Path

import pytest

from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

DELIVERIES = "number,item,at,pieces\n1,bolt,2026-01-31T12:00:00Z,10\n2,nut,2026-01-31T12:00:01Z,none\n"
RECALLS = '{"item": "bolt", "at": "2026-01-31T12:00:00Z"}\n{"item": ""}\n'


def test_files_of_two_topics_and_a_reference(kafka: str, tmp_path: Path) -> None:
    with Service(kafka, tmp_path, "tests.framework.apps.stock") as service:
        for name, text in (("d.csv", DELIVERIES), ("r.ndjson", RECALLS), ("p.csv", "item,cents\nbolt,12\n")):
            (tmp_path / name).write_text(text)
        service.command("topics")
        assert (
            "sent 1 records" in service.command("load", "--topic", "prices", str(tmp_path / "p.csv")).stdout
        )
        worker = service.worker().wait_ready()
        for topic, name in (("deliveries", "d.csv"), ("recalls", "r.ndjson")):
            loaded = service.command("load", "--topic", topic, str(tmp_path / name)).stdout
            assert "bad lines: 1" in loaded
            service.wait_done(topic=topic)
        made = service.command("produce", "--topic", "recalls", "--rate", "0", "--count", "200").stdout
        assert "sent 200 records" in made
        service.wait_done(topic="recalls")

        assert worker.get("/tables/stock/bolt").json()["value"] == {"deliveries": 1}
        assert '"cents":120' in service.command("tail", "priced").stdout
        assert '"cents":120' in service.command("tail", service.topic("priced")).stdout

        listed = service.command("dead-letters", "list").stdout.splitlines()
        assert "2 dead letters" in listed[-2]
        assert listed[-1].strip() == f"1 of {service.topic('deliveries')}, 1 of {service.topic('recalls')}"
        of_one = service.command("dead-letters", "list", "--topic", "recalls").stdout
        assert "1 dead letters" in of_one
        origin = next(line.split()[2] for line in of_one.splitlines() if service.topic("recalls") in line)
        assert '{"item": ""}' in service.command("dead-letters", "show", origin).stdout
        unknown = service.command("tail", "nothing", check=False)
        assert "declares no topic 'nothing'" in unknown.stderr

        assert worker.get("/tables/prices/bolt").status_code == 200
        deleted = service.command("load", "--topic", "prices", "--delete", "bolt").stdout
        assert deleted == f"sent 1 deletions to {service.topic('prices')}\n"
        deadline = time.monotonic() + 60
        while worker.get("/tables/prices/bolt").status_code != 404:
            assert time.monotonic() < deadline
            time.sleep(0.2)
