"""A loop by hand: what one writes with confluent-kafka, orjson and rocksdict where speed is all.

Batches are polled, worked on, sent, stored and committed, one after the other. It is exact as long as
nothing fails: nothing restores a lost disk from the changelog, hands a partition over, or takes back what
was stored before a crash.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from rocksdict import AccessType, BlockBasedOptions, Cache, Options, Rdict, WriteBatch

from bench.rules import DEDUP_SECONDS

PREFIX = os.environ["MILLSTREAM_TOPIC_PREFIX"]
BATCH = 10_000
POLL_SECONDS = 0.1
# The longest that a window's count is kept, by RocksDB's own clock.
WINDOW_SECONDS = 24 * 3600

Window = tuple[int, int, str]
"""Source partition, first second, and what is counted."""
Views = Mapping[Window, int]
Work = Callable[[list[Message], "Out"], None]


class Out:
    """What a batch sends and stores.

    Args:
        producer: for records.
        folder: for two stores, of ids and of windows.
        changelog: topic that both are written to, too.
    """

    def __init__(self, producer: Producer, folder: Path, changelog: str) -> None:
        self._produce = producer.produce
        self._changelog = changelog
        self._ids = _open(folder / "ids", DEDUP_SECONDS)
        self._windows = _open(folder / "windows", WINDOW_SECONDS)

    def send(self, topic: str, key: bytes | None, value: bytes | None, partition: int) -> None:
        """Send a record."""
        self._produce(PREFIX + topic, value, key, partition)

    def first(self, ids: list[tuple[bytes, float, int]]) -> list[bool]:
        """Remember ids with event time and source partition; for each, whether it is new."""
        known = self._ids.get([name for name, _, _ in ids])
        fresh: dict[bytes, float] = {}
        batch = WriteBatch(raw_mode=True)
        result = []
        for (name, moment, partition), value in zip(ids, known, strict=True):
            seen = fresh.get(name) if value is None else float(value)
            new = seen is None or moment - seen >= DEDUP_SECONDS
            result.append(new)
            if new:
                fresh[name] = moment
                raw = b"%f" % moment
                batch.put(name, raw)
                self._produce(self._changelog, raw, name, partition)
        self._ids.write(batch)
        return result

    def windows(self, keys: list[bytes]) -> list[bytes | None]:
        """Read windows by key."""
        return self._windows.get(keys)  # type: ignore[no-any-return] # rocksdict has no types

    def count(self, views: Views, topic: str, name: str, size: int) -> dict[bytes, bytes]:
        """Add views to the stored ones, send each sum, and return what is to be kept.

        Args:
            views: to be added.
            topic: for the sums.
            name: field of a sum that says whose it is.
            size: length of the windows, seconds.
        """
        rows: dict[bytes, bytes] = {}
        keys = [row(b"v", window) for window in views]
        for key, (window, more), stored in zip(keys, views.items(), self.windows(keys), strict=True):
            total = more + int(stored or 0)
            rows[key] = b"%d" % total
            number, start, of = window
            value = {
                name: of,
                "partition": number,
                "window_start": start,
                "window_end": start + size,
                "views": total,
            }
            self.send(topic, of.encode(), orjson.dumps(value), number)
        return rows

    def keep(self, windows: dict[bytes, bytes]) -> None:
        """Store windows, and write them to the changelog; a key begins with the source partition and `/`."""
        batch = WriteBatch(raw_mode=True)
        for key, value in windows.items():
            batch.put(key, value)
            self._produce(self._changelog, value, key, int(key[: key.index(b"/")]))
        self._windows.write(batch)


def row(table: bytes, window: Window) -> bytes:
    """Return the key of a stored window."""
    number, start, name = window
    return b"%d/%b/%d/%b" % (number, table, start, name.encode())


def run(source: str, work: Work) -> None:
    """Drain a topic until SIGTERM."""
    kafka, group = os.environ["KAFKA_BOOTSTRAP_SERVERS"], os.environ["MILLSTREAM_APP_ID"]
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": kafka,
            "enable.idempotence": True,  # acks=all, too
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
            "delivery.report.only.error": True,
            "on_delivery": _failed,
        }
    )
    changelog = f"{PREFIX}loop.changelog"
    partitions = len(producer.list_topics(PREFIX + source).topics[PREFIX + source].partitions)
    _create(kafka, changelog, partitions)
    out = Out(producer, Path(os.environ["MILLSTREAM_STATE_DIR"]), changelog)
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    consumer.subscribe([PREFIX + source])
    while not stopped:
        messages = consumer.consume(BATCH, POLL_SECONDS)
        if not messages:
            continue
        ends: dict[int, int] = {}
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
            ends[message.partition()] = message.offset() + 1
        work(messages, out)
        producer.flush()
        offsets = [TopicPartition(PREFIX + source, number, end) for number, end in ends.items()]
        consumer.commit(offsets=offsets, asynchronous=False)
    consumer.close()


def _create(kafka: str, topic: str, partitions: int) -> None:
    config = {"cleanup.policy": "compact,delete", "retention.ms": str(WINDOW_SECONDS * 1000)}
    admin = AdminClient({"bootstrap.servers": kafka})
    for created in admin.create_topics([NewTopic(topic, partitions, 1, config=config)]).values():
        created.result()


def _failed(error: object, message: Message) -> None:
    raise SystemExit(f"{message.topic()}: {error}")


def _open(path: Path, ttl: float) -> Rdict:
    table = BlockBasedOptions()
    table.set_bloom_filter(10, block_based=False)
    table.set_block_cache(Cache(64 << 20))
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(table)
    options.set_memtable_whole_key_filtering(True)
    options.set_memtable_prefix_bloom_ratio(0.1)
    path.parent.mkdir(parents=True, exist_ok=True)
    return Rdict(str(path), options, access_type=AccessType.with_ttl(int(ttl)))


def now() -> float:
    """Seconds since the epoch."""
    return time.time()
