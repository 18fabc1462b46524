"""Look-ups in a reference topic on real Kafka: complete from the start, and the same after a kill."""

import itertools
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

CODES = [f"c{n}" for n in range(40)]
KILLS = 6
# Until one has hit work that was sent and not committed.
MOST_KILLS = 10
BURST = 20_000

Message = tuple[bytes, bytes | None]


@pytest.fixture
def shop(kafka: str, tmp_path: Path) -> Iterator[Service]:
    with Service(kafka, tmp_path, "tests.framework.apps.priced") as service:
        yield service


def prices(price: int, codes: list[str] = CODES) -> list[Message]:
    return [(code.encode(), json.dumps({"code": code, "price": price}).encode()) for code in codes]


def orders(first: int, count: int, codes: list[str] = CODES) -> list[Message]:
    return [
        (code.encode(), json.dumps({"number": n, "code": code, "timestamp": 1_700_000_000 + n}).encode())
        for n, code in zip(range(first, first + count), itertools.cycle(codes), strict=False)
    ]


def told(service: Service) -> dict[str, list[bytes]]:
    """Return the values of each origin, also of those that were sent again."""
    found: dict[str, list[bytes]] = defaultdict(list)
    for record in service.read("orders.priced"):
        found[dict(record.headers)["origin"].decode()].append(record.value)
    return found


@contextmanager
def changing_prices(service: Service) -> Iterator[None]:
    """Set all prices anew, again and again."""
    done = threading.Event()

    def change() -> None:
        for price in itertools.count(1):
            service.send("prices", prices(price))
            if done.wait(0.1):
                return

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def repeated(service: Service) -> list[list[bytes]]:
    """Return the values of each order that was sent several times."""
    return [values for values in told(service).values() if len(values) > 1]


@pytest.mark.parametrize("lose_disk", [False, True])
def test_a_replay_finds_the_prices_that_it_found_first(shop: Service, lose_disk: bool) -> None:
    service, sent = shop, 0
    service.worker().wait_ready()
    service.send("prices", prices(0))
    with changing_prices(service):
        for kill in range(MOST_KILLS):
            if kill >= KILLS and repeated(service):
                break
            with service.watch("orders.priced") as told_orders:
                before = told_orders()
                service.send("orders.raw", orders(sent, BURST))
                sent += BURST
                deadline = time.monotonic() + 30
                while told_orders() == before and time.monotonic() < deadline:
                    pass  # they are sent before they are committed
                service.workers[-1].kill()
            time.sleep(0.5)  # for other prices
            if lose_disk:
                name = f"lost-{len(service.workers)}"
                service.worker(name).wait_ready(120)
            else:
                service.worker().wait_ready()
        service.wait_done(topic="orders.raw")
        time.sleep(2.5)
        service.send("orders.raw", orders(sent, len(CODES)))
        sent += len(CODES)
        service.wait_done(topic="orders.raw")
    found = told(service)
    repeats = repeated(service)
    assert repeats, "no kill hit orders that were sent and not committed: the test says nothing"
    assert [values for values in repeats if len(set(values)) > 1] == []
    first = [json.loads(values[0]) for values in found.values()]
    assert sorted(one["number"] for one in first) == list(range(sent))
    assert all(one["price"] is not None for one in first)
    assert len({one["price"] for one in first}) >= KILLS
    # The last ones came when all was caught up: they have a price of the last seconds.
    last = {one["price"] for one in first if one["number"] >= sent - len(CODES)}
    newest = max(json.loads(record.value)["price"] for record in service.read("prices"))
    assert min(last) > newest / 2


def test_all_workers_know_all_before_the_first_order(shop: Service) -> None:
    codes = [f"many-{n}" for n in range(30_000)]
    first = shop.worker()  # it makes the topics
    first.wait_ready()
    first.stop()
    shop.send("prices", prices(7, codes))
    shop.send("orders.raw", orders(0, 30_000, codes[::-1]))
    workers = [shop.worker(name) for name in "ab"]
    for worker in workers:
        worker.wait_ready()
    shop.wait_done(topic="orders.raw")
    values = [json.loads(values[0]) for values in told(shop).values()]
    assert len(values) == 30_000
    assert {one["price"] for one in values} == {7}
    for worker in workers:
        answer = worker.get("/tables/prices/many-29999").json()
        assert answer["value"] == {"code": "many-29999", "price": 7}
        assert worker.get("/tables/prices/nothing").status_code == 404
        (shown,) = [one for one in worker.get("/tables").json()["tables"] if one["name"] == "prices"]
        assert (shown["keys"], shown["invalid"]) == (30_000, 0)
        assert sum(one["offset"] for one in shown["partitions"]) == 30_000


def test_deleted_and_invalid_values(shop: Service) -> None:
    shop.worker().wait_ready()
    shop.send("prices", [*prices(1), (b"c0", None), (b"c1", b"{"), (b"c2", b'{"code":"c3","price":5}')])
    time.sleep(2)
    shop.send("orders.raw", orders(0, 4))
    shop.wait_done(topic="orders.raw")
    found = [json.loads(values[0]) for values in told(shop).values()]
    assert sorted((one["number"], one["price"]) for one in found) == [(0, None), (1, 1), (2, 1), (3, 1)]
    log = shop.workers[-1].log.read_text()
    assert log.count("is left out") == 2
    assert "its key is 'c2', and its code 'c3'" in log
