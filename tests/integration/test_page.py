"""The live page in a real browser, over three workers on a real Kafka.

Its screenshots are kept in `build/screenshots/`.
"""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.framework.browser import CHROMIUM, Browser, browser
from tests.framework.service import Service, Worker

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: `make components` installs it"),
]
SHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
AGENTS = "activity,page_totals,users,totals"
GOOD = "document.querySelector('#state.good')"


@contextmanager
def fed(service: Service, rate: int) -> Iterator[None]:
    """Feed the service events while the block runs."""
    with (service.folder / "produce.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "millstream", "produce", "--rate", str(rate)],
            env=service.env,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def says(text: str, where: str = "#state") -> str:
    """Return a condition: that a part of the page has a text."""
    return f"document.querySelector('{where}').innerText.includes('{text}')"


async def number(page: Browser, figure: str) -> float:
    text = await page.text(f"#figure-{figure} .value")
    found = re.match(r"[\d.,]+", text)
    return float(found[0].replace(",", "")) if found else 0.0


@pytest.mark.timeout(600)
def test_the_page(service: Service) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    service.env["MILLSTREAM_AGENTS"] = AGENTS
    workers = [service.worker("0").wait_ready()]
    workers += [service.worker(str(n)) for n in (1, 2)]
    with fed(service, 200):
        for worker in workers:
            worker.wait_ready()
        asyncio.run(_watch(service, workers))


async def _watch(service: Service, workers: list[Worker]) -> None:
    own, other = workers[0], workers[2]
    async with browser() as page:
        await page.look(1280, 900)
        await page.open(f"http://127.0.0.1:{own.port}/")
        await _numbers_move(page)
        await _a_key_is_looked_up(page)
        await _a_dead_letter_is_opened(page, service)
        await page.run("scrollTo(0, 0)")
        await page.screenshot(SHOTS / "desktop.png", 2600)
        await page.look(390, 844, mobile=True)
        assert await page.run("document.documentElement.scrollWidth") <= 390
        await page.screenshot(SHOTS / "narrow.png", 2000)
        await page.look(1280, 900, dark=True)
        await asyncio.sleep(5)
        await page.screenshot(SHOTS / "dark.png", 1400)
        await page.look(1280, 900)
        await _another_worker_dies(page, other)
        await _its_own_worker_dies(page, service, own)
        assert page.errors == []


async def _numbers_move(page: Browser) -> None:
    await page.wait(says("All well: 3 workers"), 60)
    await page.wait("document.querySelector('#figure-events .value').innerText.match(/[1-9]/)")
    assert await number(page, "events") > 20
    await page.wait("document.querySelector('#figure-p99 .value').innerText.includes('ms')")
    before = await page.text("#figures")
    await asyncio.sleep(6)
    assert await page.text("#figures") != before
    assert await page.run("document.querySelectorAll('#worker-rows tr').length") == 3
    await page.wait("document.querySelectorAll('#graph path.busy').length > 5")
    # They show the last whole minute: the first one must be over.
    for table in ("page-totals", "sales"):
        await page.wait(f"document.querySelectorAll('#panels [data-table={table}] .key').length > 0", 90)
    for title in ("Top pages", "Sales by country", "Sessions", "Users per minute"):
        assert title in await page.text("#panels")


async def _a_key_is_looked_up(page: Browser) -> None:
    key = await page.run("document.querySelector('#panels [data-table=page-totals] .key').innerText")
    await page.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: '/'}))")
    assert await page.run("document.activeElement.id") == "look-key"
    await page.run("document.querySelector('#look-table').value = 'page-totals'")
    await page.call("Input.insertText", text=key)
    for kind in ("keyDown", "keyUp"):
        await page.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r")
    await page.wait(says("total", "#look-result"))
    assert f"{key} in page-totals" in await page.text("#look-result")
    await page.run("document.querySelector('#look-key').value = 'nobody'")
    await page.run("document.querySelector('#look-table').value = 'profiles'")
    await page.click("#look-form button")
    await page.wait(says("is not in the table", "#look-result"))
    await page.click("#panels [data-table=page-totals] .key")
    await page.wait(says("windows", "#look-result"))


async def _a_dead_letter_is_opened(page: Browser, service: Service) -> None:
    broken = b'{"user_id": "<img src=x onerror=alert(1)>", \xff'
    await asyncio.to_thread(service.send, "activity.raw", [(b"somebody", broken)])
    await asyncio.sleep(3)
    await page.click("#dead-show")
    await page.wait("document.querySelectorAll('#dead-rows tr').length > 0")
    await page.wait(says(f"{len(broken)}", "#dead-rows"))
    row = (
        f"[...document.querySelectorAll('#dead-rows tr')].find(r => r.cells[4].innerText === '{len(broken)}')"
    )
    await page.run(f"{row}.querySelector('button').click()")
    await page.wait(says("Headers", "#letter-body"))
    text = await page.text("#letter")
    assert "not-json" in text
    assert f"{service.prefix}activity.raw/" in text
    assert broken.hex(" ")[:47] in text
    await page.screenshot(SHOTS / "dead-letter.png")
    for kind in ("keyDown", "keyUp"):
        await page.call(
            "Input.dispatchKeyEvent", type=kind, key="Escape", code="Escape", windowsVirtualKeyCode=27
        )
    await page.wait("!document.querySelector('#letter').open")


async def _another_worker_dies(page: Browser, other: Worker) -> None:
    other.kill()
    await page.wait(says(f"127.0.0.1:{other.port} does not answer"), 20)
    assert re.search(r"since \d\d:\d\d:\d\d", await page.text("#state"))
    assert "no worker reports" in await page.text("#state")
    assert "does not answer since" in await page.text("#worker-rows")
    await page.screenshot(SHOTS / "worker-gone.png", 1000)
    await page.wait(f"{GOOD} && {says('All well: 2 workers')}", 90)
    assert f"127.0.0.1:{other.port} does not answer" in await page.run(
        "document.querySelector('#past-list').textContent"
    )
    assert "left the group" in await page.text("#worker-rows")
    await page.wait("document.querySelector('#figure-events .value').innerText.match(/[1-9]/)")


async def _its_own_worker_dies(page: Browser, service: Service, own: Worker) -> None:
    own.kill()
    await page.wait(says("does not answer. It cannot be reached"), 20)
    assert await page.run("document.body.classList.contains('stale')")
    assert (await page.run("document.title")).startswith("⚠")
    await page.screenshot(SHOTS / "error.png", 900)
    again = service.worker("0", MILLSTREAM_WEB_PORT=str(own.port))
    await page.wait(f"{GOOD} && {says('All well')}", 120)
    assert again.process.poll() is None
    await page.screenshot(SHOTS / "recovered.png", 900)
