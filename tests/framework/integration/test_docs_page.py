"""The page that shows the views' description, of workers that want a token, in a real browser."""

import pytest

from tests.framework.browser import CHROMIUM, browser
from tests.framework.integration.test_page_token import guard
from tests.framework.views import Views, event, serve

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: `make components` installs it")

# React notices only what is set as a user sets it.
SET = """(input, text) => {
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(input, text);
    input.dispatchEvent(new Event("input", { bubbles: true }));
}"""


async def test_the_description_is_shown_and_views_are_tried() -> None:
    views = Views()
    async with serve(views, guard) as server, browser() as page:
        await views.send(*[event(n, page="/a") for n in range(3)])
        await page.open(f"http://127.0.0.1:{server.port}/docs")
        for given, told in (("wrong", "do not know"), ("secret", "")):
            await page.wait("document.querySelector('#ask-token').open")
            await page.run(f"document.querySelector('#token').value = '{given}'")
            await page.click("#token-form button")
            await page.wait(f"document.querySelector('#token-error').innerText.includes('{told}')")
        await page.wait("document.querySelectorAll('#docs .opblock').length > 20")
        operation = "[id$=query_table-page-views]"
        await page.click(f"{operation} .opblock-summary-control")
        await page.wait(f"document.querySelector('{operation} .try-out__btn') !== null")
        await page.click(f"{operation} .try-out__btn")
        await page.wait(f"document.querySelector('{operation} .execute') !== null")
        await page.run(f"({SET})(document.querySelector('{operation} [data-param-name=key] input'), '/a')")
        # Swagger UI takes typed text with a delay: until then it sends no request.
        asked = f"document.querySelector('{operation} .live-responses-table')?.innerText"
        shown = await page.wait(f"(document.querySelector('{operation} .execute').click(), {asked})")
        assert '"total": {' in shown
        assert '"views": 3' in shown
        await page.click("[id$=stream_key] .opblock-summary-control")
        await page.wait("document.querySelector('[id$=stream_key] .parameters-container') !== null")
        assert await page.run("document.querySelector('[id$=stream_key] .try-out__btn') === null")
        assert page.errors == []
