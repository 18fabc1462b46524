"""OpenTelemetry traces of events: the records' headers carry the trace context from topic to topic.

A record with W3C's `traceparent` header, if it is sampled, belongs to a trace. Its processing by an agent,
from decoding to the committed state, is the next span, and the agent's outputs for it carry that span's
context.
"""

from collections.abc import Iterable, Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from millstream.engine.tracing import Trace
from millstream.kafka.records import ConsumerRecord

FORM = TraceContextTextMapPropagator()


class Spans:
    """Creates spans of the events that are traced; see `millstream.engine.tracing.Tracer`.

    Args:
        service: the service's name.
        worker: the worker's name.
        processor: receives the spans; None for OpenTelemetry's exporter, configured by the variables
            `OTEL_…`.
    """

    def __init__(self, service: str, worker: str, processor: SpanProcessor | None = None) -> None:
        resource = Resource.create({"service.name": service, "service.instance.id": worker})
        provider = TracerProvider(resource=resource)
        provider.add_span_processor(processor or BatchSpanProcessor(_exporter()))
        self._tracer = provider.get_tracer("millstream")

    def begin(
        self, topic: str, number: int, records: Sequence[ConsumerRecord], origins: Sequence[int]
    ) -> dict[int, Trace]:
        """Start a span for each traced record; return them by origin."""
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
        """End the spans of committed events."""
        for trace in traces:
            trace.span.end()


def _exporter() -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 (slow)

    return OTLPSpanExporter()
