"""The worker's views on a real web server, over agents that run in memory."""

import time
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, cast

import faust
import httpx
import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

from millstream.kafka.group import Lease, Peer, Peers, now
from millstream.kafka.partitioner import partition_for
from millstream.state.replica import Table
from millstream.state.state import State
from millstream.testing.memory_engine import Pipeline
from millstream.testing.memory_kafka import MemoryKafka
from millstream.testing.memory_log import MemoryLog
from millstream.testing.memory_store import MemoryStore
from millstream.web.openapi import Operations
from millstream.web.problems import problems
from millstream.web.queries import Queries
from millstream.web.scatter_gather import ScatterGather
from millstream.web.server import Web
from millstream.web.views import install
from tests.framework.apps.shop import app


class Views:
    """One worker of the shop, with all partitions: a `millstream.web.service.Service`.

    `send` returns when everything is processed.
    """

    kafka = "k:1"
    web: Web

    def __init__(self, partitions: int = 4) -> None:
        self.conf, self.settings = app.conf, app.settings
        self.panels, self.metrics, self.metric_samples = app.panels, app.metrics, app.metric_samples
        self.operations = Operations()
        self.topics = MemoryKafka(partitions)
        self.pipeline = Pipeline(app, self.topics, self._open, time.time)
        self.engine: Any = self.pipeline.engine
        self.engine.joined = True
        self.engine.lease = Lease()
        self.engine.lease.renew(now(), 3600)
        self.gather = ScatterGather(self.engine, httpx.AsyncClient)
        self.queries = Queries(self.engine, self.gather)

    def page(self, path: str) -> Callable[[Any], Any]:
        return cast("Callable[[Any], Any]", faust.App.page(cast(Any, self), path))

    def _open(self, topic: str, number: int, tables: Iterable[Table]) -> State:
        return State(cast(Any, MemoryLog()), cast(Any, MemoryStore({})), tables)

    async def send(self, *events: dict[str, Any] | bytes) -> None:
        self.topics.now = int(time.time() * 1000)
        for event in events:
            raw = event if isinstance(event, bytes) else msgspec.json.encode(event)
            key = b"u" if isinstance(event, bytes) else event["user_id"].encode()
            self.topics.put("shop.raw", partition_for(key, self.topics.partitions), key, raw, [])
        await self.pipeline.settle()


def event(number: int, **fields: Any) -> dict[str, Any]:
    made = {
        "event_id": f"e{number}",
        "user_id": f"u{number % 7}",
        "action": "view",
        "page": f"/p{number % 5}",
    }
    return made | {"timestamp": time.time()} | fields


@asynccontextmanager
async def serve(views: Views, *middlewares: Any, port: int | None = None) -> Any:
    """Serve the views, and return the server."""
    views.web = Web(app)
    views.web.web_app = web.Application(middlewares=[problems, *middlewares])
    install(views)
    server = TestServer(views.web.web_app, port=port)
    await views.pipeline.start()
    try:
        await server.start_server()
        views.engine.url = f"http://127.0.0.1:{server.port}"
        views.engine.peers = Peers([Peer(views.engine.url, [], [])])
        yield server
    finally:
        await views.gather.close()
        await server.close()
        await views.pipeline.stop()
