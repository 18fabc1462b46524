"""Faust's web server, without its own pages."""

import socket
from typing import ClassVar

from faust.web.drivers import aiohttp as driver


class Web(driver.Web):
    """Serves our views only: Faust's show data to anybody, and its index has nothing to say."""

    production_blueprints: ClassVar[list[tuple[str, str]]] = []


class PortTakenError(Exception):
    """Something else listens on the port of the web views."""


def require_port(host: str, port: int) -> None:
    """Check that the web views can listen.

    Raises:
        PortTakenError: they cannot; the text says what to do.
    """
    try:
        socket.create_server((host, port)).close()
    except OSError as exc:
        raise PortTakenError(
            f"port {port} is taken or may not be used on {host} ({exc.strerror}): stop what listens there, "
            "or choose another with MILLRACE_WEB_PORT"
        ) from None
