"""Look-ups in reference topics: what a replay finds is what was found the first time."""

import asyncio
import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import faust
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millstream import App, Batches, ErrorPolicy, EventTime, Verdict
from millstream.engine.chunk import Chunk
from millstream.engine.reference_view import ROW
from millstream.sources.record import Record
from millstream.tables.reference import REPLACED_KEPT
from millstream.testing.driver import Driver
from millstream.testing.memory_engine import AgentFailedError
from millstream.testing.replay import replay

NOW = 1_700_000_000.0
HOUR = REPLACED_KEPT.total_seconds()


class Order(faust.Record):
    code: str
    n: int
    timestamp: EventTime = NOW


class Price(faust.Record):
    code: str
    price: int


@cache
def service(*, refers: bool = True, missing: Verdict | None = None) -> App:
    """Return an app whose one agent tells the price of what each order is for."""
    app = App("prices", agents=())
    orders = app.source_topic("orders", Order, key="code", dead_letters="dead", limits=False)
    priced = app.output_topic("priced")
    prices = app.reference_topic("prices", Price, key="code")
    if refers:
        app.add_references(orders, prices)
    app.engine.chunk_records = 2
    errors = ErrorPolicy({LookupError: missing}, delay=timedelta(seconds=10)) if missing else None

    @app.agent(orders, errors=errors)
    async def price(batches: Batches[Order]) -> None:
        async for batch in batches:
            async with batch.commit() as commit:
                known = prices.open(commit)
                for order in batch:
                    found = known.get(order.code)
                    if missing and found is None:
                        raise LookupError(order.code)
                    shown = None if found is None else found.price
                    commit.send(priced, key=order.code, value={"n": order.n, "price": shown})

    return app


@pytest.fixture
def driver() -> Iterator[Driver]:
    with Driver(service(), now=NOW) as driver:
        yield driver


def told(driver: Driver) -> list[tuple[int, int | None]]:
    return [(one.value["n"], one.value["price"]) for one in driver.read("priced")]


def test_an_order_has_the_newest_price(driver: Driver) -> None:
    driver.send("orders", {"code": "a", "n": 1})
    driver.send("prices", {"code": "a", "price": 10})
    driver.send("orders", {"code": "a", "n": 2})
    driver.send("prices", {"code": "a", "price": 11})
    driver.send("orders", {"code": "a", "n": 3})
    driver.send("orders", {"code": "b", "n": 4})
    driver.send("prices", None, key="a")
    driver.send("orders", {"code": "a", "n": 5})
    assert told(driver) == [(1, None), (2, 10), (3, 11), (4, None), (5, None)]


@pytest.mark.parametrize("lose_disk", [False, True])
def test_a_new_start_reads_all_before_the_first_order(driver: Driver, lose_disk: bool) -> None:
    for n in range(200):
        driver.send("prices", {"code": f"c{n}", "price": n})
    driver.send("orders", {"code": "c7", "n": 1})
    set_price(driver, "c7", 1000)
    driver.restart(lose_disk=lose_disk)
    driver.send("orders", {"code": "c199", "n": 2})
    driver.send("orders", {"code": "c7", "n": 3})
    assert told(driver) == [(1, 7), (2, 199), (3, 1000)]


def test_what_came_while_nobody_was_there_has_the_newest_price(driver: Driver) -> None:
    driver.send("orders", {"code": "a", "n": 1})
    set_price(driver, "a", 1)
    # The first two may have been told just before the worker ended, for all that is known.
    for n, seconds in ((2, 9), (3, 9), (4, 11)):
        driver._kafka.now = int((NOW + seconds) * 1000)
        driver._kafka.put("orders", 0, b"a", b'{"code":"a","n":%d}' % n, [])
    driver.restart()
    assert told(driver) == [(1, None), (2, None), (3, None), (4, 1)]


def test_what_is_looked_up_is_decided_at_the_start(driver: Driver) -> None:
    assert ROW in {record.key for record in driver._logs["orders", 0].records}


def test_an_invalid_value_is_left_out(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    driver.send("prices", {"code": "a", "price": 10})
    driver.send("prices", b"{", key="a")
    driver.send("prices", {"code": "a", "price": 11}, key='"a"')
    driver.send("prices", {"code": "b", "price": "dear"})
    driver.send("orders", {"code": "a", "n": 1})
    assert told(driver) == [(1, 10)]
    (copy,) = driver._pipeline.engine.references.copies.values()
    assert (copy.keys, copy.invalid) == (1, 3)
    assert [record.args[2] for record in caplog.records if "left out" in record.msg] == [1, 2, 3]  # type: ignore[index]


def test_an_agent_refers_to_what_it_opens() -> None:
    app = service(refers=False, missing=Verdict.STOP)
    error = pytest.raises(AgentFailedError, match="does not refer to 'prices'")
    with Driver(app, now=NOW) as driver, error:
        driver.send("orders", {"code": "a", "n": 1})


def test_an_order_that_waits_finds_a_price_that_comes_later() -> None:
    with Driver(service(missing=Verdict.LATER), now=NOW) as driver:
        driver.send("orders", {"code": "a", "n": 1})
        driver.send("prices", {"code": "a", "price": 10})
        driver.send("prices", {"code": "b", "price": 20})
        driver.send("orders", {"code": "b", "n": 2})
        driver.advance(11)
        assert told(driver) == [(2, 20), (1, 10)]


def test_what_is_due_to_be_tried_again_comes_before_newer_prices() -> None:
    with Driver(service(missing=Verdict.LATER), now=NOW) as driver:
        driver.send("orders", {"code": "a", "n": 1})
        (partition,) = driver._pipeline.engine.partitions.values()
        before = partition.references._row.offsets
        driver.send("prices", {"code": "a", "price": 1})
        driver._kafka.put("orders", 0, b"b", b"{}", [])
        fetched = Chunk(driver._kafka.records("orders", 0, 1), partition.cursor.generation or 0)
        driver._now += 11  # a worker before this one may have tried it, and crashed
        driver._runner.run(partition.references.move_on(fetched))
        assert partition.references._row.offsets is before
        driver._now -= 11
        partition.references._moved = 0.0
        driver._runner.run(partition.references.move_on(fetched))
        assert partition.references._row.offsets == {"prices": {0: 1}}


async def test_files_are_replayed_with_a_reference(tmp_path: Path) -> None:
    orders = [Record(b"a", b'{"code":"a","n":%d}' % n, NOW) for n in range(3)]
    values = [(b"a", b'{"code":"a","price":1}'), (b"a", b'{"code":"a","price":2}')]
    counts = await replay(
        service(), orders, source="orders", partitions=2, folder=tmp_path, references={"prices": values}
    )
    assert counts == {"priced": 3}
    lines = map(json.loads, (tmp_path / "priced.ndjson").read_text().splitlines())
    assert [line["value"]["price"] for line in lines] == [2, 2, 2]


class Crashing:
    """A driver whose commits hang when they are told to, as in a process that is about to be killed."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.hung = False
        self._left: int | None = None
        self._after = False
        log = driver._logs["orders", 0]
        self._append = log.append
        log.append = self.append  # type: ignore[method-assign] # to hang at the right moment

    async def append(self, entries: Any) -> int:
        if self._left is not None and self._left <= 0 and not self._after:
            await self._hang()
        offset = await self._append(entries)
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                await self._hang()
        return offset

    async def _hang(self) -> None:
        self.hung = True
        await asyncio.Event().wait()

    def crash_at(self, commits: int, *, after: bool) -> None:
        """Let so many commits pass, then hang before or after the next is appended."""
        self._left, self._after = commits, after

    def order(self, codes: dict[int, str]) -> None:
        """Append orders, and work until all is done or a commit hangs."""
        self.driver._kafka.now = int(self.driver._now * 1000)
        for n, code in codes.items():
            value = msgspec.json.encode({"code": code, "n": n})
            self.driver._kafka.put("orders", 0, code.encode(), value, [])
        self.driver._runner.run(self._work())

    async def _work(self) -> None:
        while not self.hung and await self.driver._pipeline._step():
            pass

    def restart(self, *, lose_disk: bool) -> None:
        self.hung, self._left = False, None
        self.driver.restart(lose_disk=lose_disk)


orders = st.tuples(st.just("order"), st.text("ab", min_size=1, max_size=6))
changes = st.tuples(st.just("price"), st.sampled_from("ab"))
waits = st.tuples(st.just("wait"), st.integers(0, 12))
crashes = st.tuples(st.just("crash"), st.tuples(st.integers(0, 3), st.booleans(), st.booleans()))


@given(steps=st.lists(orders | changes | waits | crashes, max_size=25))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_replay_finds_what_was_found_first(steps: list[tuple[str, Any]]) -> None:
    with Driver(service(), now=NOW) as driver:
        crashing = Crashing(driver)
        newest: dict[str, int | None] = {"a": None, "b": None}
        lose_disk = False
        wanted: dict[int, int | None] = {}
        sent: set[int] = set()
        for n, (what, how) in enumerate(steps):
            if what == "price":
                newest[how] = set_price(driver, how, n if n % 5 else None)
            elif what == "wait":
                driver._now += how
            elif what == "crash":
                commits, after, lose_disk = how
                crashing.crash_at(commits, after=after)
            else:
                codes = {n * 10 + i: code for i, code in enumerate(how)}
                sent |= codes.keys()
                crashing.order(codes)
                if not crashing.hung:
                    wanted |= {number: newest[code] for number, code in codes.items()}
                    continue
                newest = {code: set_price(driver, code, -1) for code in "ab"}  # the replay must not see it
                crashing.restart(lose_disk=lose_disk)
        crashing.restart(lose_disk=lose_disk)
        found: dict[int, int | None] = {}
        for n, price in told(driver):
            assert found.setdefault(n, price) == price
        assert found.keys() == sent
        assert found | wanted == found


def set_price(driver: Driver, code: str, price: int | None) -> int | None:
    value = None if price is None else msgspec.json.encode({"code": code, "price": price})
    driver._kafka.now = int(driver._now * 1000)
    driver._kafka.put("prices", 0, code.encode(), value, [])
    return price


def test_a_batch_that_failed_finds_what_it_found_first(driver: Driver) -> None:
    driver.send("prices", {"code": "a", "price": 1})
    driver.send("orders", {"code": "a", "n": 1})
    log = driver._logs["orders", 0]
    append = log.append

    async def fail(entries: Any) -> int:
        log.append = append  # type: ignore[method-assign] # to fail once
        set_price(driver, "a", 2)
        raise ConnectionError("as told")

    log.append = fail  # type: ignore[method-assign] # as above
    driver.send("orders", {"code": "a", "n": 2})
    driver.send("orders", {"code": "a", "n": 3})
    (_, *repeats, last) = driver.read("priced")
    assert [repeats[0], repeats[0]] == repeats
    assert (repeats[0].value["price"], last.value["price"]) == (1, 2)


def test_a_state_behind_what_is_compacted_says_so(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    driver.send("prices", {"code": "a", "price": 1})
    driver.send("orders", {"code": "a", "n": 1})
    crashing = Crashing(driver)
    crashing.crash_at(0, after=False)
    crashing.order({2: "a"})
    driver._kafka.drop("prices", 0)
    set_price(driver, "a", 2)
    driver._now += HOUR
    with caplog.at_level(logging.WARNING):
        crashing.restart(lose_disk=True)
    assert told(driver) == [(1, 1), (2, 1), (2, 2)]
    assert sum("may be compacted away" in record.msg for record in caplog.records) == 1
