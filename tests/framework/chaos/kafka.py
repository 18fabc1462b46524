"""What the suite reads from Kafka, and changes in its topics, from outside of the service."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import ConsumerRecord, TopicPartition

from millstream.kafka.reading import records

T = TypeVar("T")

OFFSET_KEYS = (0, 1)
GROUP_KEY = 2
FROM_TOPIC = 1  # where a setting comes from
FLEXIBLE = 4  # from this version on a text's length is a varint, one higher


@dataclass
class Group:
    """A consumer group's history, from Kafka's own topic.

    Attributes:
        generations: each that was reached, in order.
        commits: when (epoch milliseconds), topic, partition and offset of each offset commit.
    """

    generations: list[int] = field(default_factory=list)
    commits: list[tuple[int, str, int, int]] = field(default_factory=list)


def read(kafka: str, topic: str) -> list[ConsumerRecord]:
    async def collect() -> list[ConsumerRecord]:
        return [record async for record in records(kafka, topic)]

    return asyncio.run(collect())


def group_of(kafka: str, name: str) -> Group:
    group = Group()
    for record in read(kafka, "__consumer_offsets"):
        if record.key is None or record.value is None:
            continue
        (kind,) = struct.unpack_from(">h", record.key)
        found, rest = _text(record.key, 2)
        if found != name:
            continue
        if kind in OFFSET_KEYS:
            topic, rest = _text(record.key, rest)
            (partition,) = struct.unpack_from(">i", record.key, rest)
            (offset,) = struct.unpack_from(">q", record.value, 2)
            group.commits.append((record.timestamp, topic, partition, offset))
        elif kind == GROUP_KEY:
            (version,) = struct.unpack_from(">h", record.value)
            length = (
                record.value[2] - 1 if version >= FLEXIBLE else struct.unpack_from(">h", record.value, 2)[0]
            )
            (generation,) = struct.unpack_from(">i", record.value, (3 if version >= FLEXIBLE else 4) + length)
            if group.generations[-1:] != [generation]:
                group.generations.append(generation)
    return group


def _text(raw: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">h", raw, at)
    return raw[at + 2 : at + 2 + length].decode(), at + 2 + length


def admin(kafka: str, do: Callable[[AIOKafkaAdminClient], Awaitable[T]]) -> T:
    async def run() -> T:
        client = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await client.start()
        try:
            return await do(client)
        finally:
            await client.close()

    return asyncio.run(run())


def delete_before(kafka: str, topic: str, offsets: dict[int, int]) -> None:
    """Delete a topic's records before an offset of each partition (-1: all that are there)."""
    wanted = {TopicPartition(topic, number): RecordsToDelete(offset) for number, offset in offsets.items()}
    admin(kafka, lambda client: client.delete_records(wanted))


def cut_log(kafka: str, topic: str, offsets: dict[int, int]) -> None:
    """As `delete_before`, for a topic that is only compacted: Kafka does not allow that."""

    async def cut(client: AIOKafkaAdminClient) -> None:
        (described,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        configs = {entry[0]: entry[1] for entry in described.resources[0][4] if entry[3] == FROM_TOPIC}
        for policy in ("compact,delete", "compact"):
            # This replaces all of a topic's settings.
            changed = ConfigResource(ConfigResourceType.TOPIC, topic, configs | {"cleanup.policy": policy})
            await client.alter_configs([changed])
            if policy == "compact,delete":
                await client.delete_records(
                    {TopicPartition(topic, p): RecordsToDelete(o) for p, o in offsets.items()}
                )

    admin(kafka, cut)


def offsets(kafka: str, topic: str, count: int = 4) -> tuple[dict[int, int], dict[int, int]]:
    """Return the first offset and the one after the last of each partition."""

    async def ask() -> tuple[dict[Any, int], dict[Any, int]]:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = [TopicPartition(topic, number) for number in range(count)]
            return await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        finally:
            await consumer.stop()

    starts, ends = asyncio.run(ask())
    return {p.partition: o for p, o in starts.items()}, {p.partition: o for p, o in ends.items()}
