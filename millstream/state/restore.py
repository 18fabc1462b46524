"""Restores the state of a partition from its log before the partition is processed."""

import asyncio
import logging
from contextlib import suppress

from millstream.state.errors import UnknownFormatError, UnrecoverableError
from millstream.state.state import State

logger = logging.getLogger(__name__)

REPORT_SECONDS = 5.0


async def restore(name: str, state: State, seconds: float) -> None:
    """Become the owner of a state, and log the progress meanwhile.

    Raises:
        UnrecoverableError: it took longer than `seconds`.
    """
    report = asyncio.create_task(_report(name, state))
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            await state.acquire()
    except UnknownFormatError as exc:
        raise UnrecoverableError(f"{name}: {exc}") from None
    except TimeoutError:
        if limit.expired():
            raise UnrecoverableError(
                f"{name} was not restored within {seconds:.0f} s: the next start continues from where "
                "this one stopped; MILLSTREAM_RESTORE_DEADLINE allows more time"
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
