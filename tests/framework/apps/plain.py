"""What one writes with plain Faust and its defaults: count, then send. For the hazards."""

import asyncio
from collections import Counter
from typing import Any

import faust
from faust.web import Request, Response, Web
from yarl import URL

from millstream.settings import settings

conf = settings()
conf.data_dir.mkdir(parents=True, exist_ok=True)
app = faust.App(
    conf.app_id or "plain",
    broker=[URL(f"kafka://{address}") for address in str(conf.kafka_bootstrap_servers).split(",")],
    datadir=str(conf.data_dir),
    topic_partitions=conf.partitions,
    web_host=conf.web_host,
    web_bind=conf.web_host,
    web_port=conf.web_port,
)
raw = app.topic(conf.topic("plain.raw"), key_type=str, value_serializer="json")
done = app.topic(conf.topic("plain.done"), key_type=str, value_serializer="json")
counts = app.Table("counts", key_type=str, value_type=int, default=int)
tried: Counter[str] = Counter()


@app.agent(raw)
async def plain(stream: faust.Stream[dict[str, Any]]) -> None:
    async for order in stream:
        event_id, fault = order["event_id"], order["fault"]
        tried[event_id] += 1
        counts[order["user_id"]] += 1
        if fault == "hang":
            await asyncio.sleep(1000)
        if fault == "raise" and tried[event_id] == 1:
            raise RuntimeError("as told")
        await done.send(key=order["user_id"], value={"event_id": event_id})


@app.page("/health")
async def health(web: Web, request: Request) -> Response:
    ready = app.consumer.assignment() and not app.rebalancing and not app.in_recovery
    return web.json({}, status=200 if ready else 503)


@app.page("/counts/{user}")
async def count(web: Web, request: Request, user: str) -> Response:
    return web.json({"total": {"count": counts[user]}})


__all__ = ["app"]
