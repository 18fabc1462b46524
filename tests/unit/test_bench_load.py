import gc
import marshal
import time

import orjson
import pytest

from bench import cores
from bench.command import helpers, table
from bench.feed import CHUNK, Feeder
from bench.lag import Lag, fit
from bench.latency import _quantile
from bench.profile import REST, stages
from millstream.kafka.partitioner import partition_for


def messages(path):
    with path.open("rb") as file:
        while True:
            try:
                yield from marshal.load(file)
            except EOFError:
                return


def test_a_feed_holds_what_it_says(tmp_path):
    feeder = Feeder(1, 4)
    first = feeder.feed(tmp_path / "first", 9 * CHUNK + 1, probes=[10, 500])
    second = feeder.feed(tmp_path / "second", 700)
    sent = [list(messages(feed.path)) for feed in (first, second)]

    assert [len(part) for part in sent] == [9 * CHUNK + 1, 700]
    assert feeder.expected.records == 9 * CHUNK + 701
    assert first.outputs + second.outputs == len(feeder.expected.ids)
    for feed, part in zip((first, second), sent, strict=True):
        for partition, numbers in feed.numbers.items():
            assert [n for n, m in enumerate(part) if partition_for(m["key"], 4) == partition] == list(numbers)


def test_probes_are_first_sightings_and_not_too_early(tmp_path):
    feed = Feeder(1, 4).feed(tmp_path / "feed", 3000, probes=range(0, 2900, 10))
    ids = []
    for message in messages(feed.path):
        try:
            ids.append(orjson.loads(message["value"])["event_id"])
        except (ValueError, KeyError, TypeError):
            ids.append(None)

    assert len(feed.probes) == 290
    for (number, key), wanted in zip(feed.probes, range(0, 2900, 10), strict=True):
        assert number >= wanted
        assert ids.index(key) == number


def test_a_lag_that_grows_is_not_flat():
    assert fit([(0, 1000), (1, 1300), (2, 1600)]) == Lag(mean=1300, growth=300, seconds=2)
    assert not fit([(0, 1000), (1, 1300), (2, 1600)]).flat(2000)
    assert fit([(0, 1000), (1, 1300), (2, 1000)]).flat(2000)
    assert fit([(0, 100), (1, 200), (2, 300)]).flat(2000), "so little is no backlog"


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_quantiles(share, expected):
    assert expected == _quantile(range(1, 101), share)


def test_a_helper_is_not_disturbed_by_the_garbage_collector():
    with helpers(1) as pool:
        assert not pool.submit(gc.isenabled).result()
    assert gc.isenabled()


def test_the_yardstick_tells_the_time_of_its_work(monkeypatch):
    monkeypatch.setattr(cores, "YARDSTICK", 10_000)
    began = time.perf_counter()
    assert 0 < cores.yardstick() <= time.perf_counter() - began


def test_a_table_is_markdown():
    assert table([["a", "b"], ["long", "1"]]) == ["| a    | b |", "|------|--:|", "| long | 1 |"]


def test_a_sample_counts_for_the_innermost_stage_and_waiting_for_none():
    main = "run (app.py:1);activity (agents/activity.py:30)"
    read = "Store.get_many (millstream/state/store.py:1)"
    assert stages(
        [
            f"{main};Deduplication.first (millstream/tables/dedup.py:9);{read} 3",
            f"{main};Commit.send (millstream/engine/commit.py:7) 2",
            f"{main} 1",
            "run (app.py:1);select (selectors.py:1) 4",
            "run (app.py:1);Condition.wait (threading.py:5) 100",
        ]
    ) == {"RocksDB, called": 3, "encode": 2, "rules": 1, REST: 4}
