"""Who gets which partitions: evenly, to the freshest copy, and with standbys that are not the owner."""

import math
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any, ClassVar

import msgspec
import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.structs import TopicPartition
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from millstream.kafka.assignor import Assignor, Member, Plan, plan
from millstream.kafka.group import FORMAT, Lease, Peers, now
from millstream.state.standby import Standby

NUMBERS = st.integers(1, 12)


@st.composite
def groups(draw: st.DrawFn) -> tuple[dict[str, range], dict[str, Member]]:
    topics = {topic: range(draw(NUMBERS)) for topic in ("a", "b")}
    places = [(topic, number) for topic, numbers in topics.items() for number in numbers]
    members = {}
    for n in range(draw(st.integers(1, 6))):
        held = draw(st.lists(st.sampled_from(places), unique=True))
        fresh = draw(st.lists(st.floats(0, 100), min_size=len(held), max_size=len(held)))
        copies = [(*place, score) for place, score in zip(held, fresh, strict=True)]
        members[f"w{n}"] = Member(copies, draw(st.integers(0, 3)))
    return topics, members


def planned(topics: dict[str, range], members: dict[str, Member]) -> dict[str, Plan]:
    return plan(topics, {topic: list(members) for topic in topics}, members, topics)


@given(groups())
def test_each_partition_has_one_owner_and_the_standbys_wanted(
    group: tuple[dict[str, range], dict[str, Member]],
) -> None:
    topics, members = group
    plans = planned(topics, members)
    everything = [TopicPartition(topic, n) for topic, numbers in topics.items() for n in numbers]
    assert sorted(tp for share in plans.values() for tp in share.owned) == sorted(everything)
    standbys = min(max(m.standbys for m in members.values()), len(members) - 1)
    followed = Counter(tp for share in plans.values() for tp in share.followed)
    assert followed == Counter({tp: standbys for tp in everything if standbys})
    for share in plans.values():
        assert len(set(share.owned + share.followed)) == len(share.owned) + len(share.followed)


@given(groups())
def test_load_is_even_in_every_topic(group: tuple[dict[str, range], dict[str, Member]]) -> None:
    topics, members = group
    for topic in topics:
        loads = [sum(tp.topic == topic for tp in share.owned) for share in planned(topics, members).values()]
        assert max(loads) - min(loads) <= 1


@given(groups())
def test_nothing_moves_when_nothing_has_changed(group: tuple[dict[str, range], dict[str, Member]]) -> None:
    topics, members = group
    first = planned(topics, members)
    told = {
        name: Member(
            [(*tp, 105.0) for tp in first[name].owned] + [(*tp, 100.0) for tp in first[name].followed],
            member.standbys,
        )
        for name, member in members.items()
    }
    again = planned(topics, told)
    assert {name: sorted(share.owned) for name, share in again.items()} == {
        name: sorted(share.owned) for name, share in first.items()
    }


@given(groups(), st.data())
def test_whoever_dies_is_followed_by_its_standbys(
    group: tuple[dict[str, range], dict[str, Member]], data: st.DataObject
) -> None:
    topics, members = group
    # With one standby each; of several, the shares are dealt out best first, and the last may find no room.
    standbys = 1
    members = {name: Member(member.copies, standbys) for name, member in members.items()}
    if len(members) < 2:
        return
    first = planned(topics, members)
    dead = data.draw(st.sampled_from(sorted(members)))
    told = {
        name: Member(
            [(*tp, 105.0) for tp in first[name].owned] + [(*tp, 100.0) for tp in first[name].followed],
            standbys,
        )
        for name in members
        if name != dead
    }
    after = planned(topics, told)
    for name, share in after.items():
        moved = set(share.owned) - set(first[name].owned)
        assert moved <= set(first[name].followed)


def test_the_standby_of_a_dead_owner_takes_over() -> None:
    members = {
        "warm": Member([("a", 0, 104.0), ("a", 1, 100.0)], 1),
        "cold": Member([("a", 2, 104.0), ("a", 3, 104.0), ("a", 1, 20.0)], 1),
    }
    plans = planned({"a": range(4)}, members)
    assert {tp.partition for tp in plans["warm"].owned} == {0, 1}
    assert {tp.partition for tp in plans["cold"].followed} == {0, 1}


def test_spare_workers_stand_by() -> None:
    members = {f"w{n}": Member([], 1) for n in range(5)}
    plans = planned({"a": range(2)}, members)
    assert sorted(len(share.owned) for share in plans.values()) == [0, 0, 0, 1, 1]
    assert sum(len(share.followed) for share in plans.values()) == 2


def test_a_topic_without_state_has_no_standbys() -> None:
    plans = plan({"a": [0, 1]}, {"a": ["x", "y"]}, {"x": Member([], 1), "y": Member([], 1)}, stateful=[])
    assert [share.followed for share in plans.values()] == [[], []]


class Worker:
    """One member of a group."""

    standbys_wanted = 1
    sources: ClassVar = {"a"}

    def __init__(self, name: str) -> None:
        self.url = f"http://{name}"
        self.followed: set[TP] = set()
        self.peers = Peers()
        self.assignor = Assignor.of(self)

    def copies(self) -> list[tuple[str, int, float]]:
        return [("a", 0, 1.0)]

    def assigned(self, followed: set[TP], peers: Peers) -> None:
        self.followed, self.peers = followed, peers


CLUSTER = SimpleNamespace(partitions_for_topic=lambda topic: {0, 1, 2})


def test_all_workers_learn_where_the_others_are() -> None:
    workers = {name: Worker(name) for name in ("x", "y")}
    told = {name: worker.assignor.metadata(["a"]) for name, worker in workers.items()}
    assigned = workers["x"].assignor.assign(CLUSTER, told)
    for name, worker in workers.items():
        worker.assignor.on_assignment(assigned[name])
    peers = workers["x"].peers
    assert peers.owners == workers["y"].peers.owners
    for name, worker in workers.items():
        owned = {TP(topic, n) for topic, numbers in assigned[name].assignment for n in numbers}
        assert {tp for tp, url in peers.owners.items() if url == worker.url} == owned
        assert {tp for tp, urls in peers.standbys.items() if urls == [worker.url]} == worker.followed
    assert peers.owners.keys() == peers.standbys.keys() == {TP("a", n) for n in range(3)}


def test_workers_of_the_version_before_get_and_give_what_they_know() -> None:
    new = Worker("new")
    old = ConsumerProtocolMemberMetadata(0, ["a"], msgspec.msgpack.encode({"copies": [], "standbys": 1}))
    assigned = new.assignor.assign(CLUSTER, {"new": new.assignor.metadata(["a"]), "old": old})
    followed = msgspec.msgpack.decode(assigned["old"].user_data)
    assert [topic for topic, _ in followed] == ["a"]
    new.assignor.on_assignment(assigned["new"])
    known = new.peers.owners
    assert set(known.values()) == {"http://new"}  # nobody knows where the other is
    assert len(known) < 3

    new.assignor.on_assignment(
        ConsumerProtocolMemberAssignment(0, [], msgspec.msgpack.encode([("a", [0, 2])]))
    )
    assert new.followed == {TP("a", 0), TP("a", 2)}
    assert new.peers.owners == {}


@pytest.mark.parametrize("more", [{}, {"peers": []}, {"peers": [{"url": "http://z", "zone": 1}], "more": 1}])
def test_fields_of_a_later_version_are_no_trouble(more: dict[str, Any]) -> None:
    worker = Worker("x")
    told = msgspec.msgpack.encode({"followed": [("a", [1])], **more})
    worker.assignor.on_assignment(ConsumerProtocolMemberAssignment(0, [], told))
    assert worker.followed == {TP("a", 1)}
    later = {"copies": [], "standbys": 0, "url": "u", "format": FORMAT + 1, "zone": "z"}
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(later), type=Member).format == FORMAT + 1


def test_a_lease_goes_by_when_the_heartbeat_was_sent() -> None:
    lease = Lease()
    assert not lease.holds
    lease.renew(now() - 1, 0.9)
    assert not lease.holds
    lease.renew(now(), 0.05)
    lease.renew(now() - 5, 0.05)  # an answer that comes late takes nothing back
    assert lease.holds
    time.sleep(0.06)
    assert not lease.holds
    assert 0.05 < lease.age < 5


def test_a_copy_is_as_stale_as_the_last_look_at_its_log() -> None:
    standby = Standby(SimpleNamespace())
    assert standby.staleness == math.inf
    standby.hold_all(now() - 2)
    assert 2 <= standby.staleness < 7
    assert 2 <= time.time() - standby.current < 7
    standby.hold_nothing()
    assert (standby.staleness, standby.current) == (math.inf, 0.0)
