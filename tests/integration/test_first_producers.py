"""The producers of anybody's first tutorial, unchanged and with their own libraries, into the example."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

KAFKA_PYTHON = """
import json, os
from kafka import KafkaProducer

producer = KafkaProducer(
    bootstrap_servers=os.environ["SERVERS"], value_serializer=lambda v: json.dumps(v).encode("utf-8")
)
for n in range(3):
    producer.send("sales_topic", {"user_id": 101, "action": "purchase", "amount": 250})
producer.flush()
"""
CONFLUENT = """
import json, os
from confluent_kafka import Producer

producer = Producer({"bootstrap.servers": os.environ["SERVERS"]})
event = {"timestamp": "2022-01-01T12:22:25", "userid": "user123", "page": "/product123", "action": "view"}
producer.produce("sales_topic", json.dumps(event).encode("utf-8"))
producer.flush()
"""
LOGIN = """
import json, os
from kafka import KafkaProducer

producer = KafkaProducer(bootstrap_servers=os.environ["SERVERS"])
event = {"user_id": 123, "action": "login", "timestamp": "2023-11-15T10:30:00Z"}
producer.send("sales_topic", json.dumps(event).encode())
producer.flush()
"""
KEYED = """
import json, os
from confluent_kafka import Producer

producer = Producer({"bootstrap.servers": os.environ["SERVERS"], "partitioner": "murmur2_random"})
for n in range(10):
    producer.produce("items_topic", key=f"key_{n % 3}", value=json.dumps({"id": n, "value": f"record_{n}"}))
    producer.produce("items_topic", key=f"key_{n % 3}", value=json.dumps({"id": n, "value": f"record_{n}"}))
producer.flush()
"""


def produce(code: str, service: Service, topic: str) -> None:
    """Run a producer in a process of its own; only the topic's name is this test's."""
    code = code.replace("sales_topic", topic).replace("items_topic", topic)
    env = service.env | {"SERVERS": service.kafka}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


def wait_until(what: str, condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def test_sales_views_and_logins_without_id_key_or_time(kafka: str, tmp_path: Path) -> None:
    with Service(kafka, tmp_path, "app", "activity.raw") as service:
        topic = f"sales-{service.prefix.strip('.-')}"
        service.env["MILLSTREAM_TOPIC_NAMES"] = f"activity.raw={topic}"
        worker = service.worker("a").wait_ready()
        for code in (KAFKA_PYTHON, CONFLUENT, LOGIN):
            produce(code, service, topic)

        def enriched() -> list[object]:
            return [record.value for record in service.read("activity.enriched")]

        wait_until("all five are enriched", lambda: len(enriched()) == 5)
        sales = worker.get("/tables/sales/unknown").json()
        assert sales["total"] == {"purchases": 3, "refunds": 0, "amount": 750.0}
        views = worker.get("/tables/page-views//product123").json()
        assert views["total"] == {"views": 1}
        assert service.read("activity.dead-letters") == []


def test_records_keyed_by_text(kafka: str, tmp_path: Path) -> None:
    with Service(kafka, tmp_path, "tests.framework.apps.items", "items") as service:
        worker = service.worker("a").wait_ready()
        produce(KEYED, service, f"{service.prefix}items")

        def counts() -> list[int]:
            answers = [worker.get(f"/tables/counts/key_{n}") for n in range(3)]
            return [one.json()["value"]["items"] if one.status_code == 200 else 0 for one in answers]

        wait_until("each id is counted once", lambda: counts() == [4, 3, 3])
