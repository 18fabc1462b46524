"""The partition assignor: a partition goes to a worker that has its state; others become its standbys.

Every worker reports how fresh its copies of the partitions' state are. The group's leader assigns each
partition to the worker with the freshest copy, as far as the load stays even, and lets others follow it.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import msgspec
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.structs import TopicPartition
from faust.types import TP

from millstream.kafka.group import FORMAT, AssignmentData, Peer, Peers, assignment_of, by_topic, partitions

VERSION = 0
# An owner's copy counts as so many seconds fresher than it is: a partition should not move needlessly.
OWNER_BONUS = 5.0


class Member(msgspec.Struct):
    """What a worker reports to the leader.

    Attributes:
        copies: for each partition (topic, number) that it has state of, when that was last known to be
            current, seconds since the epoch.
        standbys: how many standbys it wants each partition to have.
        url: where its views are for the other workers; empty if it has none.
        format: what it can read in an assignment; see `millstream.kafka.group.FORMAT`.
    """

    copies: list[tuple[str, int, float]] = []
    standbys: int = 0
    url: str = ""
    format: int = 0


@dataclass
class Plan:
    """What a worker is given: partitions to own, and partitions to follow."""

    owned: list[TopicPartition] = field(default_factory=list)
    followed: list[TopicPartition] = field(default_factory=list)


def plan(
    topics: Mapping[str, Sequence[int]],
    subscribers: Mapping[str, Sequence[str]],
    members: Mapping[str, Member],
    stateful: Iterable[str],
) -> dict[str, Plan]:
    """Give each partition to one member.

    Args:
        topics: the partitions of each topic.
        subscribers: the members that read each topic.
        members: what each member has reported.
        stateful: the topics that have state, and hence standbys.

    Returns:
        For each member its share. Of every topic, no member owns two partitions more than another.
    """
    plans = {member: Plan() for member in members}
    scores = {
        (member, TopicPartition(topic, number)): fresh
        for member, metadata in members.items()
        for topic, number, fresh in metadata.copies
    }
    wanted = max((member.standbys for member in members.values()), default=0)
    for topic in sorted(topics):
        partitions = [TopicPartition(topic, number) for number in sorted(topics[topic])]
        able = sorted(subscribers[topic])
        if not able:
            continue
        owners = _share(partitions, able, scores, {m: len(plans[m].owned) for m in able})
        for tp, owner in owners.items():
            plans[owner].owned.append(tp)
        if topic not in stateful:
            continue
        taken = {tp: {owner} for tp, owner in owners.items()}
        for _ in range(min(wanted, len(able) - 1)):
            for tp, follower in _successors(owners, able, scores, plans, taken):
                plans[follower].followed.append(tp)
                taken[tp].add(follower)
    return plans


def _successors(
    owners: Mapping[TopicPartition, str],
    members: Sequence[str],
    scores: Mapping[tuple[str, TopicPartition], float],
    plans: Mapping[str, Plan],
    taken: Mapping[TopicPartition, set[str]],
) -> Iterator[tuple[TopicPartition, str]]:
    """Choose for each partition a worker that will have room for it when its owner dies."""
    load = Counter(owners.values())
    for owner in members:
        after = Counter({member: load[member] for member in members})
        for tp in sorted(tp for tp, of in owners.items() if of == owner):
            able = [member for member in members if member not in taken[tp]]
            follower = min(
                able, key=lambda m: (after[m], -scores.get((m, tp), 0.0), len(plans[m].followed), m)
            )
            after[follower] += 1
            yield tp, follower


def _share(
    partitions: Sequence[TopicPartition],
    members: Sequence[str],
    scores: Mapping[tuple[str, TopicPartition], float],
    loads: Mapping[str, int],
) -> dict[TopicPartition, str]:
    """Give each partition to one member: best score first, evenly."""
    fewest, more = divmod(len(partitions), len(members))
    counts: dict[str, int] = defaultdict(int)
    shares: dict[TopicPartition, str] = {}

    def has_room(member: str) -> bool:
        above = sum(count > fewest for count in counts.values())
        return counts[member] < fewest or (counts[member] == fewest and above < more)

    def give(tp: TopicPartition, member: str) -> None:
        shares[tp] = member
        counts[member] += 1

    wanted = set(partitions)
    offers = [
        (-score, loads[member], tp, member)
        for (member, tp), score in scores.items()
        if member in loads and tp in wanted
    ]
    for _, _, tp, member in sorted(offers):
        if tp not in shares and has_room(member):
            give(tp, member)
    for tp in partitions:
        if tp not in shares:
            give(tp, min(filter(has_room, members), key=lambda m: (counts[m], loads[m], m)))
    return shares


class Worker(Protocol):
    """A worker, as a member of the group."""

    @property
    def sources(self) -> Collection[str]:
        """The topics that have state."""
        ...

    @property
    def standbys_wanted(self) -> int:
        """How many standbys it wants each partition to have."""
        ...

    @property
    def url(self) -> str:
        """Where its views are for the other workers; empty if it has none."""
        ...

    def copies(self) -> list[tuple[str, int, float]]:
        """Return the partitions that it has state of, and when each copy was last current."""
        ...

    def assigned(self, followed: set[TP], peers: Peers) -> None:
        """Learn what to follow, and where the other workers are."""
        ...


class Assignor(AbstractPartitionAssignor):
    """The group's protocol. aiokafka uses the class, not an instance: `of` makes one for a worker."""

    name = "millstream"
    worker: ClassVar[Worker]

    @classmethod
    def of(cls, worker: Worker) -> type["Assignor"]:
        """Return the assignor of a worker."""
        return type("Assignor", (cls,), {"worker": worker})

    @classmethod
    def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Tell the leader what we have."""
        worker = cls.worker
        member = Member(worker.copies(), worker.standbys_wanted, worker.url, FORMAT)
        return ConsumerProtocolMemberMetadata(VERSION, list(topics), msgspec.msgpack.encode(member))

    @classmethod
    def assign(
        cls, cluster: Any, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Decide, as the group's leader."""
        subscribers: dict[str, list[str]] = defaultdict(list)
        for member, metadata in members.items():
            for topic in metadata.subscription:
                subscribers[topic].append(member)
        topics = {topic: sorted(cluster.partitions_for_topic(topic) or ()) for topic in subscribers}
        known = {
            member: msgspec.msgpack.decode(metadata.user_data, type=Member)
            for member, metadata in members.items()
        }
        plans = plan(topics, subscribers, known, cls.worker.sources)
        peers = [
            Peer(known[member].url, by_topic(share.owned), by_topic(share.followed))
            for member, share in plans.items()
        ]
        return {
            member: ConsumerProtocolMemberAssignment(
                VERSION, by_topic(share.owned), _user_data(share, peers, known[member].format)
            )
            for member, share in plans.items()
        }

    @classmethod
    def on_assignment(cls, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Learn which partitions to follow, and where the other workers are. aiokafka learns what to own."""
        found = assignment_of(assignment.user_data)
        cls.worker.assigned(set(partitions(found.followed)), Peers(found.peers))


def _user_data(share: Plan, peers: list[Peer], version: int) -> bytes:
    followed = by_topic(share.followed)
    return msgspec.msgpack.encode(AssignmentData(followed, peers) if version else followed)
