"""Who gets which partitions: evenly, to the freshest copy, and with standbys that are not the owner."""

from collections import Counter

from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from app.engine.assignor import Member, Plan, plan

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
