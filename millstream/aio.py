"""The end of tasks that talk to Kafka."""

import asyncio
from typing import Any

# Swallowed cancellations are rare.
AGAIN_SECONDS = 1.0


async def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task until it is done.

    aiokafka's clients swallow a cancellation that comes while they are closed, and so does
    `asyncio.wait_for` before Python 3.12 when an answer comes at the same time.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=AGAIN_SECONDS)
