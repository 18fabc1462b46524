"""A worker exports the spans of events that carry a trace context to a collector of OpenTelemetry."""

import asyncio
import gzip
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from aiokafka import AIOKafkaProducer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.framework.service import Service

pytestmark = pytest.mark.kafka

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(ThreadingHTTPServer):
    """Takes spans as OpenTelemetry's collector does.

    Attributes:
        spans: trace, parent and id of each span, by its name.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.spans: dict[str, tuple[str, str, str]] = {}


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    ids = span.trace_id.hex(), span.parent_span_id.hex(), span.span_id.hex()
                    self.server.spans[span.name] = ids
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def send(service: Service, value: bytes, headers: list[tuple[str, bytes]]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=service.kafka) as producer:
        await producer.send_and_wait(service.topic("visits.raw"), value, key=b"u", headers=headers)


def test_a_collector_gets_the_path_of_an_event(service: Service, collector: Collector) -> None:
    worker = service.worker(
        MILLSTREAM_TRACES="true",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server_port}",
        OTEL_BSP_SCHEDULE_DELAY="200",
    ).wait_ready()
    event = {"event_id": "e", "user_id": "u", "action": "view", "page": "/a", "timestamp": 1_700_000_000}
    headers = [("traceparent", f"00-{TRACE}-{SPAN}-01".encode())]
    asyncio.run(send(service, json.dumps(event).encode(), headers))
    first, second = (f"process {service.topic(name)}" for name in ("visits.raw", "visits.page-counts"))
    deadline = time.monotonic() + 30
    while not {first, second} <= collector.spans.keys():
        assert time.monotonic() < deadline, collector.spans
        time.sleep(0.1)
    assert collector.spans[first][:2] == (TRACE, SPAN)
    assert collector.spans[second][:2] == (TRACE, collector.spans[first][2])
    assert worker.stop() == 0
