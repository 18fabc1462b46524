"""Streams of query results, as server-sent events. Changes are sent instead of repeated full answers.

All readers of a query share one `Feed`, which runs the query once a second. An event's id is a digest of the
whole answer. So a client that reconnects with the id of the current answer has missed nothing, at any worker;
every other client gets the whole answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import blake2b
from typing import Any

import orjson

from millstream.web.problems import ProblemError

FEED_SECONDS = 1.0
# A comment is sent after this time without an event, for proxies, and to notice clients that have gone.
HEARTBEAT_SECONDS = 10.0
# Time limit for a client to read data that the system does not buffer.
WRITE_SECONDS = 10.0
# Number of events that a client may be behind.
MOST_BEHIND = 16
MOST_READERS = 64

HEARTBEAT = b":\n\n"
# Fields about how an answer was made; they change even if the answer does not.
MAKING = ("as_of", "partial", "partitions")

Ask = Callable[[], Awaitable[dict[str, Any]]]


class Reader:
    """A client that reads a feed.

    Attributes:
        drop: called when the client is too slow.
    """

    def __init__(self, drop: Callable[[], None]) -> None:
        self._events: asyncio.Queue[bytes | None] = asyncio.Queue(MOST_BEHIND)
        self.drop = drop

    def put(self, event: bytes | None) -> bool:
        """Queue an event, or None for the end; return whether there was room."""
        try:
            self._events.put_nowait(event)
        except asyncio.QueueFull:
            return False
        return True

    async def next(self) -> bytes | None:
        """Return the next event, or a heartbeat if there was none for long; None at the end."""
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                return await self._events.get()
        except TimeoutError:
            return HEARTBEAT


class Feed:
    """A query that is run repeatedly for all its readers.

    Args:
        ask: runs the query.

    Attributes:
        readers: the clients that read the feed.
        id: id of the current answer; None before the first.
        first: lock that is held while the query runs for the first time.
        began: whether the first run has succeeded.
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
        """Run the query once, and send the changes to the readers.

        Raises:
            ProblemError: the query cannot be answered.
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
            self._send(self._whole())
        else:
            changed |= {"as_of": answer["as_of"], "next": answer.get("next")}
            self._send(event("changed", changed, digest))

    def join(self, reader: Reader, last: str | None) -> None:
        """Add a reader that has received the answer with the id `last`; None if it has received none."""
        self.readers.add(reader)
        if self._missing is not None:
            reader.put(event("missing", {"why": self._missing}))
        if self.id is not None and last != self.id:
            reader.put(self._whole())

    def end(self) -> None:
        """Send the end of the feed to all readers."""
        for reader in self.readers:
            if not reader.put(None):
                reader.drop()

    def _whole(self) -> bytes:
        return event("answer", self._answer, self.id)

    def _wait(self, why: str) -> None:
        if why != self._missing:
            self._missing = why
            self._send(event("missing", {"why": why}))

    def _send(self, message: bytes) -> None:
        for reader in [reader for reader in self.readers if not reader.put(message)]:
            self.readers.discard(reader)
            reader.drop()


class Feeds:
    """All feeds of a worker.

    Args:
        ended: returns whether the worker is stopping.
    """

    def __init__(self, ended: Callable[[], bool]) -> None:
        self._ended = ended
        self._feeds: dict[str, Feed] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, target: str, ask: Ask, reader: Reader, last: str | None) -> Feed:
        """Add a reader to the feed of a query.

        Args:
            target: path and query string; equal ones share a feed.
            ask: runs the query.
            reader: the client.
            last: id of the last answer that the client has received; None if there is none.

        Raises:
            ProblemError: there are too many readers, or the query cannot be answered.
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
            raise ProblemError(503, "This worker cannot serve more streams.", {"Retry-After": "5"})

    async def _run(self, target: str, feed: Feed) -> None:
        try:
            while feed.readers and not self._ended():
                await asyncio.sleep(FEED_SECONDS)
                with suppress(ProblemError):  # temporary, as the first run succeeded: retry
                    await feed.step()
        finally:
            feed.end()
            if self._feeds.get(target) is feed:
                del self._feeds[target]


def event(name: str, data: Any, number: str | None = None) -> bytes:
    """Encode a server-sent event."""
    head = b"event: %s\n" % name.encode() + (b"" if number is None else b"id: %s\n" % number.encode())
    return head + b"data: %s\n\n" % orjson.dumps(data)


def _rows(content: dict[str, Any] | None) -> dict[str, bytes] | None:
    """Return the rows of a list of keys; None for any other answer."""
    if content is None or "keys" not in content:
        return None
    return {row["key"]: orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in content["keys"]}


def _changes(before: dict[str, bytes], after: dict[str, bytes]) -> dict[str, Any]:
    return {
        "keys": [orjson.Fragment(row) for key, row in after.items() if before.get(key) != row],
        "gone": [key for key in before if key not in after],
    }
