"""The same job as `agents/activity.py`, as a Bytewax dataflow.

Runs in the peers' environment. State is kept for each source partition, so that a batch costs one Python
call and not one for each event. It lies in memory; Bytewax has no changelog, but snapshots it to SQLite
every ten seconds (its default).
"""

import os
import pickle
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from bench.rules import DEDUP_SECONDS, MINUTE, parse, risk_level, window_start
from models.countries import region

KAFKA = os.environ["KAFKA_BOOTSTRAP_SERVERS"].split(",")
PREFIX = os.environ["MILLSTREAM_TOPIC_PREFIX"]
BATCH = 10_000
WINDOW_SECONDS = 24 * 3600

Message: TypeAlias = KafkaSinkMessage[bytes | None, bytes | None]


class Item(NamedTuple):
    """A record; `event` is None if it is no event."""

    source: KafkaSourceMessage[bytes | None, bytes | None]
    event: dict[str, Any] | None


class State:
    """What is known of a source partition.

    Attributes:
        bucket: number of the newest stretch of event time, of the length that ids are remembered for.
        ids: event time of the ids of that stretch, and of the one before.
        views: by first second of the minute and page.
        sales: purchases, refunds and millionths of the currency's unit, by first second and country.
    """

    def __init__(self) -> None:
        self.bucket = 0
        self.ids: tuple[dict[str, float], dict[str, float]] = {}, {}
        self.views: Counter[tuple[int, str]] = Counter()
        self.sales: dict[tuple[int, str], tuple[int, int, int]] = {}

    def first(self, event: dict[str, Any]) -> bool:
        """Remember an event; whether it is new."""
        moment: float = event["timestamp"]
        if (bucket := int(moment // DEDUP_SECONDS)) > self.bucket:
            self.ids = {}, self.ids[0] if bucket == self.bucket + 1 else {}
            self.bucket = bucket
            self._forget(moment - WINDOW_SECONDS)
        name = event["event_id"]
        seen = self.ids[0].get(name) or self.ids[1].get(name)
        if seen is not None and moment - seen < DEDUP_SECONDS:
            return False
        self.ids[0][name] = moment
        return True

    def _forget(self, before: float) -> None:
        self.views = Counter({window: views for window, views in self.views.items() if window[0] >= before})
        self.sales = {window: total for window, total in self.sales.items() if window[0] >= before}


class Activity(StatefulBatchLogic[Item, Message, bytes]):
    """Deduplicate, enrich and count the events of a source partition."""

    def __init__(self, stored: bytes | None) -> None:
        self._state: State = pickle.loads(stored) if stored else State()

    def on_batch(self, values: list[Item]) -> tuple[Iterable[Message], bool]:
        """Turn a batch into what is sent."""
        state, out = self._state, []
        changed: dict[tuple[int, str], int] = {}
        for source, event in values:
            if event is None:
                topic = f"{PREFIX}activity.dead-letters"
                out.append(KafkaSinkMessage(source.key, source.value, topic=topic))
                continue
            if not state.first(event):
                continue
            action, amount = event["action"], event.get("amount")
            if action == "view":
                if (page := event.get("page")) is not None:
                    window = window_start(event["timestamp"]), page
                    changed[window] = state.views[window] = state.views[window] + 1
            elif action in ("purchase", "refund"):
                self._sell(event, action == "refund")
            event["risk_level"] = risk_level(amount)
            event["region"] = region(event.get("country"))
            topic = f"{PREFIX}activity.enriched"
            out.append(KafkaSinkMessage(source.key, orjson.dumps(event), topic=topic))
        partition = values[0].source.partition
        for (start, page), views in changed.items():
            value = {
                "page": page,
                "partition": partition,
                "window_start": start,
                "window_end": start + MINUTE,
                "views": views,
            }
            topic = f"{PREFIX}activity.page-counts"
            out.append(KafkaSinkMessage(page.encode(), orjson.dumps(value), topic=topic))
        return out, StatefulBatchLogic.RETAIN

    def _sell(self, event: dict[str, Any], refund: bool) -> None:
        window = window_start(event["timestamp"]), event.get("country") or "unknown"
        purchases, refunds, micros = self._state.sales.get(window, (0, 0, 0))
        micros += round((event.get("amount") or 0) * 1_000_000)
        self._state.sales[window] = purchases + (not refund), refunds + refund, micros

    def snapshot(self) -> bytes:
        """Return what `__init__` takes; bytes, since it must not change afterwards."""
        return pickle.dumps(self._state, pickle.HIGHEST_PROTOCOL)


def read(messages: list[KafkaSourceMessage[bytes | None, bytes | None]]) -> list[tuple[str, Item]]:
    """Validate a batch; the key is the source partition."""
    items = []
    for message in messages:
        now = message.timestamp[1] / 1000
        items.append((str(message.partition), Item(message, parse(message.value, now))))
    return items


flow = Dataflow("activity")
records = op.input("raw", flow, KafkaSource(KAFKA, [f"{PREFIX}activity.raw"], batch_size=BATCH))
events = op.flat_map_batch("read", records, read)
results = op.stateful_batch("activity", events, Activity)
# The sink waits for Kafka after each batch: one sink waits once for all topics.
config = {"enable.idempotence": "true", "compression.type": "lz4"}
op.output("out", op.key_rm("messages", results), KafkaSink(KAFKA, None, config))

if __name__ == "__main__":
    recovery = Path(os.environ["MILLSTREAM_STATE_DIR"], "recovery")
    recovery.mkdir(parents=True)
    init_db_dir(recovery, 1)
    cli_main(flow, epoch_interval=timedelta(seconds=10), recovery_config=RecoveryConfig(recovery))
