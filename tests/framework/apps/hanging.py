"""The closed-form service with a sink that, after so many batches (the setting HANGING), never answers."""

import asyncio
import os
from itertools import count

from tests.framework.apps.closed_form import app, calls

LIMIT = int(os.environ.get("HANGING", "0"))
batches = count(1)


async def sink() -> None:
    if LIMIT and next(batches) >= LIMIT:
        print("the sink hangs, as told", flush=True)
        await asyncio.Event().wait()


calls["sink"] = sink

__all__ = ["app"]
