"""Streams of what a table answers, as server-sent events: what is new is sent, not what was asked again.

All readers of a question share one `Feed`, which asks it once a second. An event's id is a digest of the
whole answer, so whoever comes back with the id of the present answer has missed nothing, at whichever worker;
everybody else gets the answer whole.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import blake2b
from typing import Any

import orjson

from app.web.problems import ProblemError

FEED_SECONDS = 1.0
# A comment after so long without an event, for proxies, and to notice who has gone.
HEARTBEAT_SECONDS = 10.0
# How long a reader may take for what the system does not buffer.
WRITE_SECONDS = 10.0
# Events that a reader may be behind.
MOST_BEHIND = 16
MOST_READERS = 64

HEARTBEAT = b":\n\n"
# What an answer says of its making; it changes without the answer.
MAKING = ("as_of", "partial", "partitions")

Ask = Callable[[], Awaitable[dict[str, Any]]]


class Reader:
    """Who reads a feed.

    Attributes:
        drop: called when it is too slow.
    """

    def __init__(self, drop: Callable[[], None]) -> None:
        self._events: asyncio.Queue[bytes | None] = asyncio.Queue(MOST_BEHIND)
        self.drop = drop

    def put(self, event: bytes | None) -> bool:
        """Give it an event, or None for the end; returns whether it had room."""
        try:
            self._events.put_nowait(event)
        except asyncio.QueueFull:
            return False
        return True

    async def next(self) -> bytes | None:
        """Return the next event, a heartbeat where there is none for long; None at the end."""
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                return await self._events.get()
        except TimeoutError:
            return HEARTBEAT


class Feed:
    """A question that is asked again and again for all who want to know.

    Args:
        ask: asks it.

    Attributes:
        readers: who reads it.
        id: of the present answer; None before the first.
        first: held while it is asked for the first time.
        began: whether that was done.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._answer: dict[str, Any] | None = None
        self._rows: dict[str, bytes] | None = None
        self._missing: str | None = None
        self.readers: set[Reader] = set()
        self.id: str | None = None
        self.first = asyncio.Lock()
        self.began = False

    async def step(self) -> None:
        """Ask once, and tell the readers what has changed.

        Raises:
            ProblemError: the question cannot be answered.
        """
        try:
            answer: dict[str, Any] | None = await self._ask()
        except ProblemError as exc:
            if exc.status == 503:
                self._wait(exc.detail)
                return
            if exc.status != 404:
                raise
            answer = None
        if answer is not None and answer["partial"]:
            self._wait("; ".join(dict.fromkeys(one["why"] for one in answer["missing"])))
            return
        self._missing = None
        content = answer and {name: value for name, value in answer.items() if name not in MAKING}
        digest = blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=12).hexdigest()
        if digest == self.id:
            return
        rows = _rows(content)
        changed = None if rows is None or self._rows is None else _changes(self._rows, rows)
        self.id, self._answer, self._rows = digest, answer, rows
        if changed is None or answer is None:
            self._tell(self._whole())
        else:
            changed |= {"as_of": answer["as_of"], "next": answer.get("next")}
            self._tell(event("changed", changed, digest))

    def join(self, reader: Reader, last: str | None) -> None:
        """Take a reader who has seen the answer with the id `last`; None if none."""
        self.readers.add(reader)
        if self._missing is not None:
            reader.put(event("missing", {"why": self._missing}))
        if self.id is not None and last != self.id:
            reader.put(self._whole())

    def end(self) -> None:
        """Tell all readers that nothing more comes."""
        for reader in self.readers:
            if not reader.put(None):
                reader.drop()

    def _whole(self) -> bytes:
        return event("answer", self._answer, self.id)

    def _wait(self, why: str) -> None:
        if why != self._missing:
            self._missing = why
            self._tell(event("missing", {"why": why}))

    def _tell(self, told: bytes) -> None:
        for reader in [reader for reader in self.readers if not reader.put(told)]:
            self.readers.discard(reader)
            reader.drop()


class Streams:
    """All feeds of a worker.

    Args:
        ended: returns whether the worker ends.
    """

    def __init__(self, ended: Callable[[], bool]) -> None:
        self._ended = ended
        self._feeds: dict[str, Feed] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, target: str, ask: Ask, reader: Reader, last: str | None) -> Feed:
        """Let somebody read what a question is answered with, from now on.

        Args:
            target: the question; equal ones share what is asked.
            ask: asks it.
            reader: who wants to know.
            last: id of the answer that the reader has; None if none.

        Raises:
            ProblemError: there are too many readers; or the question cannot be answered.
        """
        self._check()
        feed = self._feeds.setdefault(target, Feed(ask))
        async with feed.first:
            if not feed.began:
                try:
                    await feed.step()
                    self._check()
                except BaseException:
                    if self._feeds.get(target) is feed:
                        del self._feeds[target]
                    raise
                feed.began = True
                task = asyncio.create_task(self._run(target, feed), name=f"stream {target}")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            feed.join(reader, last)
        return feed

    def _check(self) -> None:
        if sum(len(feed.readers) for feed in self._feeds.values()) >= MOST_READERS or self._ended():
            raise ProblemError(503, "This worker has no room for another stream.", {"Retry-After": "5"})

    async def _run(self, target: str, feed: Feed) -> None:
        try:
            while feed.readers and not self._ended():
                await asyncio.sleep(FEED_SECONDS)
                with suppress(ProblemError):  # the question was a good one: it is asked again
                    await feed.step()
        finally:
            feed.end()
            if self._feeds.get(target) is feed:
                del self._feeds[target]


def event(name: str, data: Any, number: str | None = None) -> bytes:
    """Return a server-sent event."""
    head = b"event: %s\n" % name.encode() + (b"" if number is None else b"id: %s\n" % number.encode())
    return head + b"data: %s\n\n" % orjson.dumps(data)


def _rows(content: dict[str, Any] | None) -> dict[str, bytes] | None:
    """Return the rows of a list of keys; None if it is another answer."""
    if content is None or "keys" not in content:
        return None
    return {row["key"]: orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in content["keys"]}


def _changes(before: dict[str, bytes], after: dict[str, bytes]) -> dict[str, Any]:
    return {
        "keys": [orjson.Fragment(row) for key, row in after.items() if before.get(key) != row],
        "gone": [key for key in before if key not in after],
    }
