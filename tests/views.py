"""The worker's views on a real web server, over agents that run in memory."""

import random
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import httpx
import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

from app.engine.peers import Lease, Peer, Peers, now
from app.engine.producer import partition_for
from app.main import app
from app.memory.kafka import MemoryKafka
from app.memory.log import MemoryLog
from app.memory.pipeline import Pipeline
from app.memory.store import MemoryStore
from app.web import follow
from app.web.gather import Gather
from app.web.problems import problems
from app.web.server import Web
from app.web.views import queries
from tables.state import State


class Views:
    """One worker, with all partitions, and its views.

    `send` returns when everything is processed.
    """

    def __init__(self, partitions: int = 4) -> None:
        self.kafka = MemoryKafka(partitions)
        self.pipeline = Pipeline(app, self.kafka, self._open, time.time)
        self.engine: Any = self.pipeline.engine
        self.engine.joined = True
        self.engine.lease = Lease()
        self.engine.lease.renew(now(), 3600)

    def _open(self, source: Any, number: int) -> Any:
        store = cast(Any, MemoryStore({}))
        return State(cast(Any, MemoryLog()), store, source.tables)

    async def send(self, *events: dict[str, Any] | bytes) -> None:
        self.kafka.now = int(time.time() * 1000)
        for event in events:
            raw = event if isinstance(event, bytes) else msgspec.json.encode(event)
            key = b"u" if isinstance(event, bytes) else event["user_id"].encode()
            self.kafka.put("activity.raw", partition_for(key, self.kafka.partitions), key, raw, [])
        await self.pipeline.settle()


def event(number: int, **fields: Any) -> dict[str, Any]:
    made = {
        "event_id": f"e{number}",
        "user_id": f"u{number % 7}",
        "action": "view",
        "page": f"/p{number % 5}",
    }
    return made | {"timestamp": time.time()} | fields


def random_events(number: int, seed: random.Random) -> Iterator[dict[str, Any] | bytes]:
    for _ in range(number):
        kind = seed.random()
        one = event(seed.randrange(10**9), page=f"/products/{int(seed.expovariate(0.3)):04}")
        if kind < 0.01:
            yield b'{"user_id": "u", "action": '
        elif kind < 0.015:
            yield b"\xff\xfe\x00broken"
        elif kind < 0.2:
            country = seed.choice(["GB", "FR", "DE", "ES", "IT", "NL"])
            yield one | {"action": "purchase", "amount": round(seed.random() * 90, 2), "country": country}
        else:
            yield one
            if kind < 0.25:
                yield one


@contextmanager
def patched(**values: Any) -> Iterator[None]:
    before = {name: getattr(app, name) for name in values}
    for name, value in values.items():
        setattr(app, name, value)
    engine, asker = queries._engine, queries._gather
    queries._engine, queries._gather = values["engine"], values["gather"]
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(app, name, value)
        queries._engine, queries._gather = engine, asker


@asynccontextmanager
async def serve(views: Views, *middlewares: Any, port: int | None = None) -> Any:
    """Serve the views, and return the server."""
    served = Web(app)
    served.web_app = web.Application(middlewares=[problems, *middlewares])
    for view in app.web.views.values():
        served.add_view(type(view))
    server = TestServer(served.web_app, port=port)
    gather = Gather(views.engine, httpx.AsyncClient)
    follow.streams = follow.Streams(follow._ended)
    with patched(engine=views.engine, gather=gather):
        await views.pipeline.start()
        try:
            await server.start_server()
            views.engine.url = f"http://127.0.0.1:{server.port}"
            views.engine.peers = Peers([Peer(views.engine.url, [], [])])
            yield server
        finally:
            await gather.close()
            await server.close()
            await views.pipeline.stop()
