"""Topics in Kafka: create what is missing, and compare what is there with what is declared."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaConnectionError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from millstream.kafka.topic_ids import ask

# Time that Kafka's brokers may take to hear of a new topic.
CREATE_SECONDS = 15.0


class TopicError(Exception):
    """A topic cannot be created, or is not as it is declared; the text says what to do."""


@dataclass(frozen=True)
class TopicSpec:
    """A topic as it is declared.

    Attributes:
        name: its name.
        partitions: number of partitions.
        replication: number of replicas.
        configs: Kafka's topic settings that matter to us, as Kafka writes them.
    """

    name: str
    partitions: int
    replication: int
    configs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TopicState:
    """A topic as Kafka has it; see `TopicSpec`."""

    partitions: int
    replication: int
    configs: Mapping[str, str]


async def ensure(bootstrap: str, specs: Iterable[TopicSpec]) -> dict[str, bool]:
    """Create the topics that are missing, then check all of them.

    Args:
        bootstrap: addresses of Kafka, host:port with commas.
        specs: the topics.

    Returns:
        For each topic's name, whether it was created now.

    Raises:
        TopicError: one could not be created, or is not as declared.
    """
    wanted = {spec.name: spec for spec in specs}
    async with _admin(bootstrap) as client:
        there = await _describe(client, wanted)
        created = {name: name not in there for name in wanted}
        if any(created.values()):
            await _create(client, [wanted[name] for name, new in created.items() if new])
            deadline = time.monotonic() + CREATE_SECONDS
            while len(there := await _describe(client, wanted)) < len(wanted) and time.monotonic() < deadline:  # noqa: ASYNC110 (see below)
                await asyncio.sleep(0.1)  # Kafka does not notify anybody when a topic is there
        differences = [
            line for name, spec in wanted.items() if name in there for line in compare(spec, there[name])
        ]
        differences += [
            f"{name}: is still not there after it was created" for name in wanted if name not in there
        ]
        if differences:
            raise TopicError("topics are not as declared:\n  " + "\n  ".join(differences))
        return created


async def partition_count(bootstrap: str, topic: str) -> int:
    """Return how many partitions a topic has.

    Raises:
        TopicError: there is no such topic, or no Kafka.
    """
    async with _admin(bootstrap) as client:
        found = await client.describe_topics([topic])
    if found[0]["error_code"]:
        raise TopicError(f"there is no topic {topic!r}: `millstream topics` creates those of the service")
    return len(found[0]["partitions"])


async def topic_names(bootstrap: str) -> set[str]:
    """Return the names of all topics.

    Raises:
        TopicError: there is no Kafka.
    """
    async with _admin(bootstrap) as client:
        return set(await client.list_topics())


async def topic_ids(bootstrap: str, topics: Iterable[str]) -> dict[str, str]:
    """Return the ids of topics: one that was deleted and made anew has another. None of an old Kafka.

    Raises:
        TopicError: there is no Kafka.
    """
    async with _admin(bootstrap) as client:
        return await ask(client, topics)


async def broker_count(bootstrap: str) -> int:
    """Return how many brokers Kafka has.

    Raises:
        TopicError: there is no Kafka.
    """
    async with _admin(bootstrap) as client:
        return len((await client.describe_cluster())["brokers"])


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await client.start()
        yield client
    except KafkaConnectionError as exc:
        raise TopicError(f"Kafka does not answer at {bootstrap}: {exc}") from exc
    finally:
        await client.close()


def compare(spec: TopicSpec, found: TopicState) -> list[str]:
    """Return a line for each difference, with what to do about it."""
    lines = []
    if found.partitions != spec.partitions:
        lines.append(
            f"{spec.name}: has {found.partitions} partitions, {spec.partitions} are declared: set "
            f"MILLSTREAM_PARTITIONS={found.partitions}, or create the topic anew"
        )
    if found.replication < spec.replication:
        lines.append(
            f"{spec.name}: has {found.replication} replicas, {spec.replication} are declared: set "
            f"MILLSTREAM_REPLICATION={found.replication}, or add replicas with kafka-reassign-partitions"
        )
    lines += [
        f"{spec.name}: {key} is {found.configs[key]}, {value} is declared: "
        f"kafka-configs --alter --entity-type topics --entity-name {spec.name} --add-config {key}={value}"
        for key, value in spec.configs.items()
        if key in found.configs and found.configs[key] != value
    ]
    return lines


async def _create(client: AIOKafkaAdminClient, specs: list[TopicSpec]) -> None:
    response = await client.create_topics(
        [NewTopic(s.name, s.partitions, s.replication, topic_configs=dict(s.configs)) for s in specs]
    )
    for name, code, *message in response.topic_errors:
        if code and for_code(code) is not TopicAlreadyExistsError:  # another worker was faster
            raise TopicError(
                f"{name}: cannot be created: {for_code(code).__name__} {message[0] if message else ''}"
            )


async def _describe(client: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, TopicState]:
    described = {}
    for topic in await client.describe_topics(list(names)):
        error = for_code(topic["error_code"])
        if topic["error_code"] and error is not UnknownTopicOrPartitionError:
            raise TopicError(f"{topic['topic']}: {error.__name__}")
        if not topic["error_code"]:
            described[topic["topic"]] = topic["partitions"]
    configs = await _configs(client, described)
    return {
        name: TopicState(
            partitions=len(partitions),
            replication=min((len(p["replicas"]) for p in partitions), default=0),
            configs=configs.get(name, {}),
        )
        for name, partitions in described.items()
    }


async def _configs(client: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    found = {}
    for response in await client.describe_configs(resources):
        for code, _message, _kind, name, entries in response.resources:
            if not code:
                found[name] = {entry[0]: entry[1] for entry in entries}
    return found
