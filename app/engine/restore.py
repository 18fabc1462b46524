"""Before a partition works: its state is read from the log, and its place in the source is found."""

import asyncio
import logging
from contextlib import suppress

from aiokafka.structs import TopicPartition

from app.engine.fetch import EARLIEST, LATEST, connect
from app.engine.source import State

logger = logging.getLogger(__name__)

REPORT_SECONDS = 5.0


class HopelessError(Exception):
    """The partition cannot go on, and trying again does not help; the text says what does."""


async def restore(name: str, state: State, seconds: float) -> None:
    """Become the owner of a state, and tell how far it has come meanwhile.

    Raises:
        HopelessError: it took longer than `seconds`.
    """
    report = asyncio.create_task(_report(name, state))
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            await state.acquire()
    except TimeoutError:
        if limit.expired():
            raise HopelessError(
                f"{name} was not restored within {seconds:.0f} s: a new start goes on from where this one "
                "has come, and MILLSTREAM_RESTORE_DEADLINE gives it more time"
            ) from None
        raise
    finally:
        report.cancel()
        with suppress(asyncio.CancelledError):
            await report


async def _report(name: str, state: State) -> None:
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        progress = state.progress
        left = progress.seconds_left
        logger.info(
            "%s: restoring, at %d of %d of its state log, %d records/s, %s left (%s)",
            name,
            progress.next,
            progress.end,
            progress.rate,
            "unknown time" if left is None else f"{left:.0f} s",
            ", ".join(f"{table} {count}" for table, count in sorted(progress.tables.items())),
        )


async def begin(bootstrap: str, source: TopicPartition, state: State) -> int | None:
    """Return the source's offset to go on from; None is where the group has committed, or its reset policy.

    Raises:
        HopelessError: the source ends before the events that the state holds.
    """
    name = f"{source.topic}/{source.partition}"
    stored: int | None = state.position.offsets.get(source.topic)
    if stored is None and not state.lost:
        return None
    async with connect(bootstrap, [source.topic]) as reader:
        first = (await reader.offsets([source], EARLIEST))[source]
        end = (await reader.offsets([source], LATEST))[source]
    if stored is None:
        logger.error("%s: its state is lost (%s); it is made anew from offset %d on", name, state.lost, first)
        return first
    if stored > end:
        raise HopelessError(
            f"{name} ends at {end}, but its state holds the events up to {stored}: the topic was made anew, "
            "or has lost events. Start under another MILLSTREAM_APP_ID, which begins with an empty state"
        )
    if stored < first:
        logger.error(
            "%s: the events %d to %d are gone before they were processed: the topic's retention is shorter "
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
