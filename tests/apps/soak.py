"""The service, telling how many asyncio tasks it has."""

import asyncio

from faust.web import Request, Response, Web

from app.main import app


@app.page("/test/tasks")
async def tasks(web: Web, request: Request) -> Response:
    return web.json({"tasks": len(asyncio.all_tasks())})


__all__ = ["app"]
