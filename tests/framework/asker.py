"""Continuous queries of a service's workers, from a thread of its own."""

import asyncio
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from tests.framework.service import Worker

AT_ONCE = 4  # queries of a worker
AGAIN_SECONDS = 0.1
# One in so many queries accepts a standby's copy.
STANDBY_EVERY = 4
STALENESS = 10.0


@dataclass
class Answer:
    """One answer; times are monotonic seconds.

    Attributes:
        sent: when the query was sent.
        came: when its answer came.
        outage: seconds since the same query was first sent in vain; 0 if it never was.
        url: whom it was sent to.
    """

    sent: float
    came: float
    outage: float
    url: str
    table: str
    key: str
    status: int
    body: Any


@dataclass
class Asker:
    """Queries each worker for keys of each table, again and again; a query in vain is repeated.

    Args:
        keys: the keys of each table.
        seed: of the order.
    """

    keys: Mapping[str, Sequence[str]]
    seed: int = 1
    answers: list[Answer] = field(default_factory=list)
    vain: list[Answer] = field(default_factory=list)
    passes: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> "Asker":
        self._rand = random.Random(self.seed)
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._left: dict[str, list[tuple[str, str]]] = {}
        self._client = httpx.AsyncClient(timeout=30, trust_env=False)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="asker")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for url in list(self._tasks):
            self._call(self._stop(url))
        self._call(self._client.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def add(self, worker: Worker) -> None:
        """Query a worker from now on."""
        self._call(self._start(_url(worker)))

    def remove(self, worker: Worker) -> None:
        """Stop querying a worker."""
        self._call(self._stop(_url(worker)))

    def wait_pass(self, seconds: float) -> None:
        """Query each worker for all keys, and wait until it has answered.

        Raises:
            AssertionError: it took too long, or a task has failed.
        """
        deadline = time.monotonic() + seconds
        self._call(self._begin())
        wanted = {url: passes + 1 for url, passes in self.passes.items() if url in self._tasks}
        while any(self.passes[url] < count for url, count in wanted.items()):
            for tasks in list(self._tasks.values()):
                for task in tasks:
                    assert not task.done(), task.exception()
            tail = [(one.url, one.table, one.key, one.status, one.body) for one in self.vain[-5:]]
            assert time.monotonic() < deadline, f"not all was answered: {self.passes} of {wanted}, {tail}"
            time.sleep(0.1)

    def _call(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _start(self, url: str) -> None:
        self.passes[url] = 0
        self._left[url] = self._order()
        self._tasks[url] = [asyncio.create_task(self._ask_all(url)) for _ in range(AT_ONCE)]

    async def _begin(self) -> None:
        for url in self._tasks:
            self._left[url] = self._order()

    async def _stop(self, url: str) -> None:
        tasks = self._tasks.pop(url, [])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _order(self) -> list[tuple[str, str]]:
        order = [(table, key) for table, keys in self.keys.items() for key in keys]
        self._rand.shuffle(order)
        return order

    async def _ask_all(self, url: str) -> None:
        while True:
            if not self._left[url]:
                self.passes[url] += 1
                self._left[url] = self._order()
            await self._ask(url, *self._left[url].pop())

    async def _ask(self, url: str, table: str, key: str) -> None:
        stale = f"?max_staleness={STALENESS:.0f}" if len(self.answers) % STANDBY_EVERY == 0 else ""
        path = f"{url}/tables/{table}/{quote(key)}{stale}"
        first = sent = time.monotonic()
        while True:
            try:
                answer = await self._client.get(path)
                status, body = answer.status_code, answer.json()
            except httpx.HTTPError as exc:
                status, body = 0, repr(exc)
            came = time.monotonic()
            one = Answer(sent, came, sent - first, url, table, key, status, body)
            if status not in (0, 503):
                self.answers.append(one)
                return
            self.vain.append(one)
            await asyncio.sleep(AGAIN_SECONDS)
            sent = time.monotonic()


def _url(worker: Worker) -> str:
    return f"http://127.0.0.1:{worker.port}"
