"""Traces of events, for OpenTelemetry: an event is followed from topic to topic by its records' headers.

A record with W3C's `traceparent` header, sampled, is a step of a trace. Its way through an agent, from the
decoding to the committed state, is the next one, and what the agent sends for it has that one's headers.
"""

from collections.abc import Iterable, Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.engine.source import ConsumerRecord
from app.engine.traced import Trace

FORM = TraceContextTextMapPropagator()


class Spans:
    """Makes spans of the events that ask for it; see `app.engine.traced.Tracer`.

    Args:
        service: the service's name.
        worker: the worker's name.
        processor: gets the spans; None for OpenTelemetry's exporter, as the variables `OTEL_…` say.
    """

    def __init__(self, service: str, worker: str, processor: SpanProcessor | None = None) -> None:
        resource = Resource.create({"service.name": service, "service.instance.id": worker})
        provider = TracerProvider(resource=resource)
        provider.add_span_processor(processor or BatchSpanProcessor(_exporter()))
        self._tracer = provider.get_tracer("millstream")

    def begin(
        self, topic: str, number: int, records: Sequence[ConsumerRecord], origins: Sequence[int]
    ) -> dict[int, Trace]:
        """Begin a span for each record that asks for it; return them by origin."""
        traces = {}
        for record, origin in zip(records, origins, strict=True):
            given = {name: value.decode(errors="replace") for name, value in record.headers if value}
            context = FORM.extract(given)
            if not get_current_span(context).get_span_context().trace_flags.sampled:
                continue
            span = self._tracer.start_span(
                f"process {topic}",
                context,
                kind=SpanKind.CONSUMER,
                attributes={
                    "messaging.system": "kafka",
                    "messaging.operation.type": "process",
                    "messaging.destination.name": topic,
                    "messaging.destination.partition.id": str(number),
                    "messaging.kafka.offset": record.offset,
                },
            )
            sent: dict[str, str] = {}
            FORM.inject(sent, set_span_in_context(span))
            traces[origin] = Trace([(name, value.encode()) for name, value in sent.items()], span)
        return traces

    def end(self, traces: Iterable[Trace]) -> None:
        """End the spans of what is committed."""
        for trace in traces:
            trace.span.end()


def _exporter() -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 (slow)

    return OTLPSpanExporter()
