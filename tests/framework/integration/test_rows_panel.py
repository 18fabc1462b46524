"""A panel of a table's rows, in a real browser; Kafka is in memory."""

import pytest

from millstream.web.panels import Rows
from tests.framework.apps.shop import Tables
from tests.framework.browser import CHROMIUM, browser
from tests.framework.views import Views, event, serve

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: `make components` installs it")


CELLS = "#panels [data-table=users] td.nowrap"


async def test_rows_of_a_value_table_show_its_fields() -> None:
    views = Views()
    views.panels = [Rows("Users", Tables.users, columns=("events", "last_event"))]
    async with serve(views) as server, browser() as page:
        await views.send(*(event(n, user_id="u1") for n in range(3)))
        await page.open(f"http://127.0.0.1:{server.port}/")
        await page.wait(f"document.querySelectorAll('{CELLS}').length > 0")
        cells = await page.run(f"[...document.querySelectorAll('{CELLS}')].map((cell) => cell.innerText)")
        assert cells[0] == "3"
        assert "T" in cells[1] or ":" in cells[1]
        assert page.errors == []
