"""Events whose headers ask for a trace, and what is told of them."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from app.engine.source import ConsumerRecord

if TYPE_CHECKING:
    from app.engine.producer import Headers


class Trace(NamedTuple):
    """One step of an event's trace: its way through an agent.

    Attributes:
        headers: what its outputs are sent with, so that the next step knows of this one.
        span: the tracer's own.
    """

    headers: "Headers"
    span: Any


class Tracer(Protocol):
    """Follows events from topic to topic; see `app.traces`."""

    def begin(
        self, topic: str, number: int, records: Sequence[ConsumerRecord], origins: Sequence[int]
    ) -> dict[int, Trace]:
        """Begin a step for each record that asks for it; return them by origin."""
        ...

    def end(self, traces: Iterable[Trace]) -> None:
        """End steps whose state is committed; one that never is, is told to nobody."""
        ...


class NoTracer:
    """Follows nobody."""

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
