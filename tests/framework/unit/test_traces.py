"""An event that asks for a trace is followed through all agents, by its records' headers."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from millstream.observability.spans import Spans
from millstream.testing.driver import Driver
from tests.framework.apps.shop import app

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ASKED = [("traceparent", f"00-{TRACE}-{SPAN}-01".encode())]
EVENT = {"event_id": "e", "user_id": "u", "action": "view", "page": "/a", "timestamp": 1_700_000_000}


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def driver(exporter: InMemorySpanExporter) -> Iterator[Driver]:
    before, app.engine.tracer = app.engine.tracer, Spans("millstream", "0", SimpleSpanProcessor(exporter))
    try:
        with Driver(app) as made:
            yield made
    finally:
        app.engine.tracer = before


def by_topic(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    spans = exporter.get_finished_spans()
    found = {str(span.attributes["messaging.destination.name"]): span for span in spans if span.attributes}
    assert len(found) == len(spans)
    return found


def test_an_event_is_followed_through_the_agents(driver: Driver, exporter: InMemorySpanExporter) -> None:
    driver.send("shop.raw", EVENT, headers=ASKED)
    spans = by_topic(exporter)
    assert {"shop.raw", "shop.page-counts"} <= spans.keys()
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {TRACE}
    first, second = spans["shop.raw"], spans["shop.page-counts"]
    assert first.parent is not None
    assert second.parent is not None
    assert f"{first.parent.span_id:016x}" == SPAN
    assert second.parent.span_id == first.context.span_id
    assert first.attributes is not None
    assert first.attributes["messaging.kafka.offset"] == 0
    assert first.resource.attributes["service.name"] == "millstream"
    for topic, span in (("shop.clean", first), ("shop.page-totals", second)):
        (output,) = driver.read(topic)
        assert output.headers["traceparent"].decode() == f"00-{TRACE}-{span.context.span_id:016x}-01"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("traceparent", f"00-{TRACE}-{SPAN}-00".encode())],  # not sampled
        [("traceparent", b"\xff\xfe no trace")],
        [("other", b"1")],
    ],
)
def test_who_does_not_ask_is_not_followed(
    driver: Driver, exporter: InMemorySpanExporter, headers: list[tuple[str, bytes]]
) -> None:
    driver.send("shop.raw", EVENT, headers=headers)
    assert exporter.get_finished_spans() == ()
    (output,) = driver.read("shop.clean")
    assert output.headers.keys() == {"origin"}


def test_what_is_not_an_event_or_came_before_begins_nothing_new(
    driver: Driver, exporter: InMemorySpanExporter
) -> None:
    driver.send("shop.raw", EVENT)
    driver.send("shop.raw", EVENT, headers=ASKED)
    driver.send("shop.raw", b"{", key="u", headers=ASKED)
    assert by_topic(exporter).keys() == {"shop.raw"}
    assert len(driver.read("shop.clean")) == 1
