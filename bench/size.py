"""How much room a state takes."""

from dataclasses import dataclass
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient

from millstream.kafka.reading import records


@dataclass(frozen=True)
class Size:
    """A state after a worker has stopped, in bytes.

    Attributes:
        rows: number of keys and windows in it.
        disk: files of RocksDB.
        log: keys and values of the logs that restore it, of each key the newest, before compression.
    """

    rows: int
    disk: int
    log: int


async def size_of(kafka: str, prefix: str, folder: Path, rows: int) -> Size:
    """Measure a state.

    Args:
        kafka: addresses, host:port with commas.
        prefix: of the run's topics.
        folder: with the worker's data.
        rows: see `Size`.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        topics = [name for name in await admin.list_topics() if prefix in name]
    finally:
        await admin.close()
    log = sum([await _newest(kafka, name) for name in topics if name.endswith((".state", "changelog"))])
    return Size(rows, _tables(folder), log)


def _tables(folder: Path) -> int:
    # A store that is closed has written all of its memory to them.
    return sum(file.stat().st_size for file in folder.rglob("*.sst"))


async def _newest(kafka: str, topic: str) -> int:
    """Count the bytes that the topic's compaction would leave."""
    sizes: dict[tuple[int, bytes], int] = {}
    async for record in records(kafka, topic):
        value = record.value
        sizes[record.partition, record.key] = 0 if value is None else len(record.key) + len(value)
    return sum(sizes.values())
