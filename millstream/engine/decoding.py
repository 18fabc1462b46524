"""Decoded: the records of a chunk become the events of a batch, and dead letters."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from millstream.engine.batch import Batch
from millstream.engine.commit import Commit
from millstream.engine.cursor import Cursor
from millstream.engine.error_handling import ErrorHandler, ValidatedRecords
from millstream.engine.tracing import Tracer
from millstream.engine.upstream_watermarks import UpstreamWatermarks, read_markers
from millstream.kafka.headers import first_offset, source_of
from millstream.kafka.records import ConsumerRecord


@dataclass(frozen=True)
class Decoded:
    """What decoding has found beside the events of a batch.

    Attributes:
        records: what becomes of each record.
        upstream: the upstream watermarks after them; None if the source has none.
    """

    records: ValidatedRecords
    upstream: UpstreamWatermarks | None = None


class Decoding:
    """Decodes the records of a partition.

    Args:
        cursor: how far the partition has come.
        errors: decides what becomes of invalid and failed records.
        tracer: returns who follows events.
    """

    def __init__(self, cursor: Cursor, errors: ErrorHandler, tracer: Callable[[], Tracer]) -> None:
        self._cursor = cursor
        self._errors = errors
        self._tracer = tracer

    def decode(
        self, batch: Batch[Any], commit: Commit, records: Sequence[ConsumerRecord], *, retry: bool
    ) -> Decoded:
        """Fill a batch with the valid events among records, and its commit with the dead letters.

        Raises:
            UnrecoverableError: the limit of dead letters does not let the first of them pass.
        """
        cursor, source = self._cursor, self._cursor.source
        upstream = None
        if source.behind is not None:
            upstream = read_markers(records, cursor.upstream, cursor.watermark)
        events = records if upstream is None else upstream.events
        decoded = source.decode(events, cursor.name)
        validated = self._errors.validate(events, decoded, retry=retry)
        end = records[-1].offset + 1
        if validated.refused is not None:
            end = validated.refused.offset
            if end == events[0].offset:
                raise self._errors.too_many(validated.refused)
            if upstream is not None:
                passed = [record for record in records if record.offset < end]
                upstream = read_markers(passed, cursor.upstream, cursor.watermark)
        for record, code, reason in validated.dead:
            commit.dead_letter(record, code, reason)
        if retry:
            commit.statistics.again = len(events)
        else:
            commit.end = end
        taken = validated.good
        if source.origin_dedup is not None and taken:
            # The agent gets each event once, though a crash may have sent it again.
            fresh = source.origin_dedup.open(commit).fresh([source_of(events[i]) for i in taken])
            taken = [taken[i] for i in fresh]
        good = [events[i] for i in taken]
        batch.fill([decoded[i] for i in taken], good, [record.offset for record in good])
        if batch.has_headers:
            batch.origins = [first_offset(record, cursor.name) for record in good]
            commit.statistics.traces = self._tracer().begin(source.topic, cursor.number, good, batch.origins)
        if upstream is None:
            times: Iterable[float] = map(source.event_time, batch.events)
            if source.out_of_order:
                times = [time - source.out_of_order for time in times]
            batch.watermarks = list(accumulate(times, max, initial=cursor.watermark))[1:]
        else:
            batch.watermarks = [upstream.watermarks[i] for i in taken]
        moves = None if upstream is None else upstream.moves
        commit.begin(good, batch.offsets, batch.origins, batch.watermarks, moves)
        return Decoded(validated, upstream)
