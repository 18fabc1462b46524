"""Start offsets of source partitions: the state's position, as far as Kafka still has it."""

import logging

from aiokafka.structs import TopicPartition

from millstream.kafka.fetch import EARLIEST, LATEST, connect
from millstream.state.errors import UnrecoverableError
from millstream.state.state import State

logger = logging.getLogger(__name__)


async def begin(bootstrap: str, source: TopicPartition, state: State) -> int | None:
    """Return the source offset to start from; None for the group's committed offset, or its reset policy.

    Raises:
        UnrecoverableError: the source ends before the events that the state holds.
    """
    name = f"{source.topic}/{source.partition}"
    stored: int | None = state.position.offsets.get(source.topic)
    if stored is None and not state.lost:
        return None
    async with connect(bootstrap, [source.topic]) as reader:
        first = (await reader.offsets([source], EARLIEST))[source]
        end = (await reader.offsets([source], LATEST))[source]
    if stored is None:
        logger.error("%s: its state is lost (%s); it is rebuilt from offset %d on", name, state.lost, first)
        return first
    if stored > end:
        raise UnrecoverableError(
            f"{name} ends at {end}, but its state holds the events up to {stored}: the topic was created "
            "again, or has lost events. Start under another MILLSTREAM_APP_ID, which begins with an empty "
            "state"
        )
    if stored < first:
        logger.error(
            "%s: the events %d to %d were lost before they were processed: the topic's retention is shorter "
            "than the lag, or they were deleted",
            name,
            stored,
            first - 1,
        )
    return max(stored, first)


async def end(bootstrap: str, source: TopicPartition) -> int:
    """Return the offset after a partition's last record."""
    async with connect(bootstrap, [source.topic]) as reader:
        return (await reader.offsets([source], LATEST))[source]
