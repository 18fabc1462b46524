"""The workers of the group, their partitions, and the lease of this worker's own partitions."""

import math
import time
from collections.abc import Iterable
from typing import Any

import msgspec
from faust.types import TP

Numbers = list[tuple[str, list[int]]]
"""Partitions, by topic."""

# Version of the data that an assignment carries beside the partitions; 0 is the form without workers.
FORMAT = 1

# It also runs while the machine sleeps, if the system has such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Peer(msgspec.Struct):
    """A worker of the group.

    Attributes:
        url: where its views are for the other workers; empty if it has none.
        owned: the partitions that it owns.
        followed: the partitions that it is a standby of.
    """

    url: str = ""
    owned: Numbers = []
    followed: Numbers = []


class AssignmentData(msgspec.Struct):
    """What the leader sends a worker beside the partitions that it owns.

    Attributes:
        followed: the partitions that the worker is a standby of.
        peers: all workers of the group.
    """

    followed: Numbers = []
    peers: list[Peer] = []


class Peers:
    """Where partitions are, as the group's leader has sent it.

    Attributes:
        urls: URLs of all workers, also of those that have no partitions.
        owners: URL of each partition's owner.
        standbys: URLs of its standbys.
    """

    def __init__(self, peers: Iterable[Peer] = ()) -> None:
        self.urls: set[str] = set()
        self.owners: dict[TP, str] = {}
        self.standbys: dict[TP, list[str]] = {}
        for peer in peers:
            if peer.url:
                self.urls.add(peer.url)
                self.owners.update((tp, peer.url) for tp in partitions(peer.owned))
                for tp in partitions(peer.followed):
                    self.standbys.setdefault(tp, []).append(peer.url)


class Lease:
    """Until when the group cannot have assigned this worker's partitions to another.

    The group waits for the session time-out after the last heartbeat that it received. In a rebalance, which
    it announces with the next heartbeat, it waits for the rebalance time-out.
    """

    def __init__(self) -> None:
        self._sent = self._until = -math.inf

    def renew(self, sent: float, seconds: float) -> None:
        """Take note of a heartbeat that was answered well.

        Args:
            sent: when it was sent, by `now`.
            seconds: how long the group waits for the next one.
        """
        self._sent = max(self._sent, sent)
        self._until = max(self._until, sent + seconds)

    @property
    def holds(self) -> bool:
        """Whether the partitions are still this worker's, for all that others may do."""
        return now() < self._until

    @property
    def age(self) -> float:
        """Seconds since the partitions were surely this worker's; infinite if they never were."""
        return now() - self._sent


def now() -> float:
    """Return the seconds of a clock that only goes forward, also while the process is stopped."""
    return time.clock_gettime(_CLOCK)


def by_topic(partitions: Iterable[Any]) -> Numbers:
    """Return partitions by their topics."""
    topics: dict[str, list[int]] = {}
    for topic, number in partitions:
        topics.setdefault(topic, []).append(number)
    return list(topics.items())


def partitions(numbers: Numbers) -> Iterable[TP]:
    """Yield the partitions of topics."""
    return (TP(topic, number) for topic, of_topic in numbers for number in of_topic)


def assignment_of(user_data: bytes) -> AssignmentData:
    """Return the data of an assignment. A leader of an older version sends only the partitions to follow.

    Raises:
        msgspec.MsgspecError: it cannot be read.
    """
    if not user_data:
        return AssignmentData()
    found = msgspec.msgpack.decode(user_data, type=AssignmentData | list[tuple[str, list[int]]])
    return found if isinstance(found, AssignmentData) else AssignmentData(followed=found)
