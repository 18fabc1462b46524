"""A browser under test: Debian's Chromium, driven over its DevTools protocol."""

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--hide-scrollbars",
)
START_SECONDS = 60.0


class PageError(AssertionError):
    """The page's script has thrown."""


class Browser:
    """One page of a browser.

    `errors` are the exceptions and console errors that its script has left, and what its policy has blocked.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.errors: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            elif told["method"] == "Runtime.exceptionThrown":
                details = told["params"]["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description") or details["text"])
            elif told["method"] == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                entry = told["params"]["entry"]
                if entry["source"] != "network":  # that a worker does not answer is what we test
                    self.errors.append(entry["text"])

    async def call(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        told = await asyncio.wait_for(answer, 60)
        if "error" in told:
            raise PageError(f"{method}: {told['error']}")
        return told["result"]

    async def run(self, script: str) -> Any:
        """Return what an expression is on the page; promises are awaited."""
        told = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in told:
            raise PageError(f"{script}: {told['exceptionDetails']}")
        return told["result"].get("value")

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)
        await self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    async def wait(self, script: str, seconds: float = 30) -> Any:
        """Wait until an expression is true on the page, and return it."""
        deadline = time.monotonic() + seconds
        while not (found := await self.run(script)):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s: {script}\n{await self.text('body')}")
            await asyncio.sleep(0.2)
        return found

    async def text(self, selector: str) -> str:
        found: str = await self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")
        return found

    async def click(self, selector: str) -> None:
        await self.run(f"document.querySelector({json.dumps(selector)}).click()")

    async def look(self, width: int, height: int, *, dark: bool = False, mobile: bool = False) -> None:
        """Be a window of this size, by day or by night."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await asyncio.sleep(0.5)

    async def screenshot(self, file: Path, height: int | None = None) -> None:
        """Keep what the page looks like: the window, or the page's first so many pixels."""
        clip = {}
        if height is not None:
            width = await self.run("innerWidth")
            whole = await self.run("document.documentElement.scrollHeight")
            clip = {"clip": {"x": 0, "y": 0, "width": width, "height": min(height, whole), "scale": 1}}
        told = await self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=bool(clip), **clip
        )
        await asyncio.to_thread(file.write_bytes, base64.b64decode(told["data"]))


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Start a browser with an empty page, and end it."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(prefix="millstream-browser-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(  # noqa: ASYNC220 (it takes no time)
            [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            told = Path(folder) / "DevToolsActivePort"
            deadline = time.monotonic() + START_SECONDS
            while not (told.exists() and told.read_text().count("\n")):
                assert process.poll() is None, f"{CHROMIUM} ended with code {process.returncode}"
                assert time.monotonic() < deadline, f"{CHROMIUM} does not start"
                await asyncio.sleep(0.1)
            address = f"http://127.0.0.1:{told.read_text().splitlines()[0]}"
            async with aiohttp.ClientSession() as session:
                async with session.get(f"{address}/json/list") as answer:
                    (target,) = [one for one in await answer.json() if one["type"] == "page"]
                async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    page = Browser(socket)
                    for domain in ("Page", "Runtime", "Log"):
                        await page.call(f"{domain}.enable")
                    yield page
                page._reading.cancel()
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
