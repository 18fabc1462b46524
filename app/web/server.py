"""Faust's web server, without its own pages."""

from typing import ClassVar

from faust.web.drivers import aiohttp as driver


class Web(driver.Web):
    """Serves our views only: Faust's show data to anybody, and its index has nothing to say."""

    production_blueprints: ClassVar[list[tuple[str, str]]] = []
