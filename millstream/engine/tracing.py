"""Traces of events: which events are traced, and what a tracer must do."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from millstream.kafka.producer import Headers
from millstream.kafka.records import ConsumerRecord


class Trace(NamedTuple):
    """One step of an event's trace: its way through an agent.

    Attributes:
        headers: headers for its outputs, which link the next step to this one.
        span: the tracer's own.
    """

    headers: Headers
    span: Any


class Tracer(Protocol):
    """Follows events from topic to topic; see `millstream.observability.spans`."""

    def begin(
        self, topic: str, number: int, records: Sequence[ConsumerRecord], origins: Sequence[int]
    ) -> dict[int, Trace]:
        """Begin a step for each record with a sampled trace header; return them by origin."""
        ...

    def end(self, traces: Iterable[Trace]) -> None:
        """End steps whose state is committed. A step that is never committed is not reported."""
        ...


class NoTracer:
    """Traces nothing."""

    def begin(
        self,
        topic: str,  # noqa: ARG002 (a Tracer's)
        number: int,  # noqa: ARG002
        records: Sequence[ConsumerRecord],  # noqa: ARG002
        origins: Sequence[int],  # noqa: ARG002
    ) -> dict[int, Trace]:
        """Begin nothing."""
        return {}

    def end(self, traces: Iterable[Trace]) -> None:
        """End nothing."""
