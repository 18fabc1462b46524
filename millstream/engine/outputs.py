"""The outputs of a batch, by topic."""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, NamedTuple

from millstream.engine.tracing import Trace
from millstream.kafka.headers import ORIGIN
from millstream.kafka.producer import Headers, Record


class Outputs:
    """Records for one topic, as columns: thousands of small objects would keep the garbage collector busy.

    Attributes:
        keys: the records' keys.
        values: their values.
        origins: offsets of the events that they come from.
        headers: further headers, by index, of the few that have any.
    """

    __slots__ = ("headers", "keys", "origins", "values")

    def __init__(self) -> None:
        self.keys: list[bytes | None] = []
        self.values: list[bytes | None] = []
        self.origins: list[int] = []
        self.headers: dict[int, Headers] = {}

    def records(self, prefix: bytes, traces: Mapping[int, Trace]) -> Iterator[Record]:
        """Return the records; `prefix` is what their origins begin with, `traces` those of the events."""
        headers: list[Headers] = [[(ORIGIN, b"%s%d" % (prefix, origin))] for origin in self.origins]
        for i, more in self.headers.items():
            headers[i] += more
        if traces:
            for i, origin in enumerate(self.origins):
                if origin in traces:
                    headers[i] += traces[origin].headers
        return zip(self.keys, self.values, headers, strict=True)


class Update(NamedTuple):
    """A record that replaces earlier ones."""

    key: bytes | None
    value: Any
    origin: int
    trace: Trace | None


Updates = dict[tuple[str, Hashable], Update]
"""By topic, and by what the record is about."""
