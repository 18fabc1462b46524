from collections import Counter
from dataclasses import replace

import orjson
import pytest

from bench.contest import Result
from bench.contestants import CONTESTANTS
from bench.drain import Drain, Look
from bench.report import Run, costs, report
from bench.rules import parse
from bench.size import Size
from bench.worker import BenchError
from bench.workload import ACTIVITY, ADS, WORKLOADS


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_fewer_events_are_a_prefix_of_more(workload):
    assert list(workload.events(500, 1)) == list(workload.events(1000, 1))[:500]


@pytest.mark.parametrize("workload", [ACTIVITY, ADS], ids=["activity", "ads"])
def test_some_events_come_again(workload):
    expected = workload.expected()
    for _ in expected.watch(workload.events(2000, 1), now=2e9):
        pass
    assert len(expected.ids) < 2000
    assert expected.outputs > 0


def test_one_ad_event_in_twenty_comes_again():
    ids = Counter(orjson.loads(record.value)["event_id"] for record in ADS.events(20_000, 1))
    assert max(ids.values()) == 2
    assert sum(times - 1 for times in ids.values()) / 20_000 == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(
    "fault",
    [
        {"amount": "12.50"},
        {"quantity": 1.5},
        {"user_id": 17},
        {"user_id": ""},
        {"timestamp": -1},
        {"action": "fly"},
    ],
)
def test_what_is_no_event_is_told(fault):
    event = {"event_id": "1", "user_id": "u", "action": "view", "timestamp": "2026-01-31T12:00:00Z"}
    assert parse(orjson.dumps(event), 2e9) == event | {"timestamp": 1769860800.0}
    assert parse(orjson.dumps(event | fault), 2e9) is None


def test_a_wrong_output_voids_a_contestant_and_is_said():
    ours, streams, *_ = [replace(one, versions=str) for one in CONTESTANTS["activity"]]
    good = Result(1000, 200.0, 300.0, 200.0, 300.0, 2**20, [])
    bad = Result(1000, 100.0, 100.0, 100.0, 100.0, 2**20, ["page views: 1 in all, expected 2"])
    text = report(
        {ours: [good], streams: [bad]}, Run(WORKLOADS["activity"], 1, "4.1.0", "a machine", "today")
    )
    row = next(line for line in text.splitlines() if line.startswith("| Kafka Streams"))
    assert row.count("void") == 5
    assert f"VOID: {streams.name}: page views: 1 in all, expected 2" in text


def test_a_half_that_was_done_in_one_go_has_no_rate():
    ours, *_ = [replace(one, versions=str) for one in CONTESTANTS["activity"]]
    result = Result(1000, 200.0, 300.0, 0, 0, 2**20, [])
    text = report({ours: [result]}, Run(WORKLOADS["activity"], 1, "4.1.0", "a machine", "today"))
    assert "  - Millstream: 200/s (300)" in text
    assert "  - Millstream: in one go" in text


@pytest.mark.parametrize(("rate", "above"), [(100.0, False), (99.0, True)])
def test_a_job_that_costs_too_much_is_said(rate, above):
    (ours, *_) = CONTESTANTS["tumbling"]
    results = {
        name: {ours: [Result(1000, each, 300.0, each, 300.0, 2**20, [])]}
        for name, each in (("tumbling", 200.0), ("hopping", rate))
    }
    (line,) = costs(results)
    assert line.startswith("ABOVE THE LIMIT: ") is above
    assert costs({"tumbling": results["tumbling"]}) == []


def test_the_size_of_a_state_is_told_by_its_rows():
    ours, *_ = [replace(one, versions=str) for one in CONTESTANTS["tumbling"]]
    result = Result(1000, 200.0, 300.0, 200.0, 300.0, 2**20, [], Size(1000, 50_000, 120_000))
    text = report({ours: [result]}, Run(WORKLOADS["tumbling"], 1, "4.1.0", "a machine", "today"))
    assert "  - Millstream: 50 and 120, 1,000 of them" in text


def test_a_drain_ends_where_it_is_as_far_behind_the_work_as_at_its_beginning():
    # A hundred records a second are worked on, and seen half a second later; from 4 s on there are none.
    looks = [Look(50, 1.0, 1.0), Look(150, 2.0, 2.0), Look(250, 3.0, 3.0), Look(400, 5.0, 4.0)]
    drain = Drain.of(looks)
    assert (drain.first, drain.middle, drain.last, drain.total) == (looks[0], looks[2], looks[2], 400)


@pytest.mark.parametrize(
    "looks",
    [
        [Look(400, 5.0, 4.0)],
        [Look(250, 3.0, 3.0), Look(400, 5.0, 4.0)],
        [Look(50, 1.0, 3.0), Look(250, 3.0, 3.0), Look(400, 5.0, 4.0)],
    ],
    ids=["done at the first look", "at the second", "no work between the first and the last but one"],
)
def test_a_drain_that_was_too_short_to_be_measured_says_what_helps(looks):
    with pytest.raises(BenchError, match="400 records are too few to be looked at: raise --events"):
        Drain.of(looks)


def test_contestants_have_keys_and_names_of_their_own():
    for there in CONTESTANTS.values():
        assert len({one.key for one in there}) == len({one.name for one in there}) == len(there)
