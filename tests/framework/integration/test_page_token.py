"""The live page of workers that want a token, in a real browser; Kafka is in memory."""

from typing import Any

import pytest
from aiohttp import web

from millstream.web.problems import problem
from tests.framework.browser import CHROMIUM, browser
from tests.framework.views import Views, event, serve

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: `make components` installs it")


@web.middleware
async def guard(request: web.Request, handler: Any) -> Any:
    is_open = request.path in ("/", "/docs") or request.path.startswith("/page/")
    if is_open or request.headers.get("Authorization") == "Bearer secret":
        return await handler(request)
    return problem(401, "A known token is wanted.")


async def test_the_page_asks_for_a_token() -> None:
    views = Views()
    async with serve(views, guard) as server, browser() as page:
        await views.send(event(1))
        await page.open(f"http://127.0.0.1:{server.port}/")
        await page.wait("document.querySelector('#ask-token').open")
        for given, error in (("wrong", True), ("secret", False)):
            await page.run(f"document.querySelector('#token').value = '{given}'")
            await page.click("#token-form button")
            if error:
                await page.wait("document.querySelector('#token-error').innerText.includes('do not know')")
        await page.wait("document.querySelector('#state.good') !== null")
        assert await page.run("document.querySelector('#ask-token').open") is False
        assert await page.run("sessionStorage.getItem('token')") == "secret"
        assert await page.run("localStorage.length") == 0
        assert page.errors == []
