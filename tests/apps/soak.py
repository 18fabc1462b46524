"""The example with small memtables, and a page that shows how many asyncio tasks it has.

At the soak's rate a memtable of the usual size lasts for seven minutes: it is to be flushed and compacted as
often as in a day.
"""

import asyncio

from faust.web import Request, Response, Web

from app import app
from millstream.state import store

store.WRITE_BUFFER = 1 << 18


@app.page("/test/tasks")
async def tasks(web: Web, request: Request) -> Response:
    return web.json({"tasks": len(asyncio.all_tasks())})


__all__ = ["app"]
