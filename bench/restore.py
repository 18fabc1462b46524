"""How fast a state is restored from its log: `python -m bench.restore`."""

import tempfile
import time
import uuid
from datetime import timedelta
from pathlib import Path

import click
import msgspec
import uvloop
from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition

from bench.command import machine
from bench.kafka import kafka_of
from millstream.engine.worker import settle_memory
from millstream.kafka.topics import TopicSpec, ensure
from millstream.state.kafka_log import KafkaLog
from millstream.state.log import FENCE, POSITION, Entry, Position, entry
from millstream.state.state import State
from millstream.state.store import Store
from millstream.tables.aggregates import Count
from millstream.tables.windows import WindowTable

COMMIT_ROWS = 2000
PAGES = 5000
MAX_BYTES = 8_000_000


@click.command()
@click.option("--records", type=click.IntRange(10_000), default=2_000_000, show_default=True)
@click.option("--repeat", type=click.IntRange(1), default=3, show_default=True)
def main(*, records: int, repeat: int) -> None:
    """Write a state log of window rows, and restore it into empty RocksDBs; the median is shown."""
    with tempfile.TemporaryDirectory(prefix="millstream-bench-") as folder, kafka_of(folder) as (kafka, kind):
        settle_memory()
        rates = sorted(uvloop.run(_measure(kafka, Path(folder), records, repeat)))
    wall, cpu = rates[len(rates) // 2]
    click.echo(f"{machine()}; Kafka {kind}")
    click.echo(f"{records:,} records: {wall:,.0f}/s, {cpu:,.0f} per CPU-second (median of {repeat})")


async def _measure(kafka: str, folder: Path, records: int, repeat: int) -> list[tuple[float, float]]:
    partition = TopicPartition(f"bench-{uuid.uuid4().hex}", 0)
    configs = {"cleanup.policy": "compact", "max.message.bytes": str(MAX_BYTES + 100_000)}
    await ensure(kafka, [TopicSpec(partition.topic, 1, 1, configs)])
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka,
        acks="all",
        enable_idempotence=True,
        max_batch_size=MAX_BYTES,
        max_request_size=MAX_BYTES + 1_000_000,
        compression_type="zstd",
    )
    await producer.start()
    try:
        table = WindowTable("page-views", size=timedelta(minutes=1), value=Count())
        log = KafkaLog(lambda: producer, kafka, partition, "")
        await log.append([Entry(FENCE, b"", [])])
        for start in range(0, records, COMMIT_ROWS):
            rows = [
                entry(
                    0,
                    table.row_key(f"/products/{n % PAGES:05d}", 60 * (n // PAGES)),
                    msgspec.msgpack.encode(n),
                )
                for n in range(start, min(records, start + COMMIT_ROWS))
            ]
            await log.append([*rows, entry(0, POSITION, Position({"t": start}).encode())])
        return [await _restore(log, folder / str(n), table) for n in range(repeat)]
    finally:
        await producer.stop()


async def _restore(log: KafkaLog, path: Path, table: WindowTable[int, object]) -> tuple[float, float]:
    state = State(log, Store(path), [table])
    began, cpu = time.perf_counter(), time.process_time()
    await state.acquire()
    took, spent = time.perf_counter() - began, time.process_time() - cpu
    state.close()
    return state.progress.records / took, state.progress.records / spent


if __name__ == "__main__":
    main()
