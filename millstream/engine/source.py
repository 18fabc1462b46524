"""A source topic, as the engine sees it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from millstream.tables.origin_dedup import OriginDedupTable
from millstream.tables.reference import Reference


@dataclass
class Source:
    """A topic that is read in batches.

    Attributes:
        topic: its name.
        record: the Record that its values are.
        key: field of an event that is the record's key.
        decode: turns records into events; its second argument is their partition, `topic/number`. An
            exception with a `code` and a `reason` stands for an invalid record.
        event_time: returns an event's time, seconds since the epoch.
        time_field: field of an event that is the event time.
        dead_letters: name of the topic for invalid records.
        late: name of the topic for events that come too late for a table; None if it has none.
        out_of_order: how far an event time may lie behind the largest one before it, without the event being
            late; seconds.
        idle: seconds without events after which the watermark moves with the wall clock; None for never.
        behind: name of the source topic whose agent sends the records of this one. The watermark then comes
            from its partitions, not from the event times; see `millstream.engine.upstream_watermarks`. None
            for a topic whose events come from elsewhere.
        internal: whether our own agents fill it, and nobody else.
        tables: the tables that its agent changes.
        keyed: names of those whose keys are the topic's.
        rekeyed: topics of the same events by another key, each with what returns an event's key.
        origin_dedup: takes each event once, of a topic that our agents fill by another key; None for others.
        references: the reference topics that its agent looks up.
    """

    topic: str
    record: Any
    key: str
    decode: Callable[..., list[Any]]
    event_time: Callable[[Any], float]
    time_field: str
    dead_letters: str
    late: str | None = None
    out_of_order: float = 0.0
    idle: float | None = None
    behind: str | None = None
    internal: bool = False
    tables: list[Any] = field(default_factory=list)
    keyed: set[str] = field(default_factory=set)
    rekeyed: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    origin_dedup: OriginDedupTable | None = None
    references: list[Reference[Any]] = field(default_factory=list)
