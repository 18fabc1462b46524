"""What an agent works with: a batch of events of one partition, and its commit."""

import operator
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

from millstream.engine.commit import Commit
from millstream.kafka.headers import source_of
from millstream.kafka.records import ConsumerRecord

E = TypeVar("E")

OpenCommit = Callable[["Batch[Any]"], AbstractAsyncContextManager[Commit]]


class Batch(Generic[E]):
    """Valid events of one partition, in the order of their offsets.

    The events are known once `commit()` is entered. Invalid records have become dead letters by then, and
    records that the state holds already have been left out.

    Attributes:
        events: the events.
        offsets: their offsets.
        origins: as `offsets`; for an event that was sent again by a replay, its first offset.
        agents: how many agents it goes through, one after the other, in one commit.
        entered: how many of them have opened it.
        shared: what the first of several has opened.
        over: whether it is over: staged, or one of them has failed.
        watermarks: for each event the watermark, seconds since the epoch: the largest event time up to and
            with it less the source's out-of-orderness, or the lowest of the upstream watermarks; see
            `millstream.engine.upstream_watermarks`.
    """

    def __init__(self, open_commit: OpenCommit) -> None:
        self._open_commit = open_commit
        self._commit: Commit | None = None
        self._records: Sequence[ConsumerRecord] = []
        self._at_one = False
        self.agents = 1
        self.entered = 0
        self.shared: Any = None
        self.over = False
        self.events: list[E] = []
        self.offsets: list[int] = []
        self.origins: list[int] = []
        self.watermarks: list[float] = []

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[E]:
        return self.pick(range(len(self.events)))

    def pick(self, indices: Iterable[int]) -> Iterator[E]:
        """Yield the events with these indices."""
        commit, events = self._commit, self.events
        assert commit is not None, "events are known inside of `async with batch.commit()`"
        self._at_one = True
        for commit.index in indices:
            yield events[commit.index]
        self._at_one = False

    @property
    def sources(self) -> list[tuple[bytes, int] | None]:
        """Of each event that an agent of ours has sent: `topic/partition` and offset that it is made from."""
        return [source_of(record) for record in self._records]

    @property
    def at(self) -> int | None:
        """Offset of the event that the agent is at; None before the first and after the last."""
        assert self._commit is not None
        return self.offsets[self._commit.index] if self._at_one and self._commit.index >= 0 else None

    def commit(self) -> AbstractAsyncContextManager[Commit]:
        """Apply the batch when the block ends: outputs first, then all tables and the position at once.

        Nothing leaves the block by exception: the batch is fetched again, and its changes are dropped.
        """
        return self._open_commit(self)

    def open(self, commit: Commit) -> None:
        """Note the commit that the events are processed in."""
        self._commit = commit

    def fill(self, events: list[E], records: Sequence[ConsumerRecord], offsets: list[int]) -> None:
        """Take the valid events, with their records and offsets."""
        self.events, self._records, self.offsets = events, records, offsets
        self.origins = offsets

    @property
    def has_headers(self) -> bool:
        """Whether a record has any."""
        return any(map(_headers, self._records))


_headers = operator.attrgetter("headers")

Batches = AsyncIterable[Batch[E]]
