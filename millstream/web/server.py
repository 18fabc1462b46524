"""Faust's web server, without Faust's own views, and with access control."""

import logging
import socket
import ssl
from typing import Any, ClassVar

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from faust.web.drivers import aiohttp as driver

from millstream.settings import Settings
from millstream.web.auth import HEADERS, SERVER, protect
from millstream.web.problems import problem

logger = logging.getLogger(__name__)

# Time limit for the next request on a connection, or for the rest of a request.
KEEP_SECONDS = 75.0


class TlsError(Exception):
    """The views cannot be served with TLS; the text says why."""


class PortTakenError(Exception):
    """Something else listens on the port of the web views."""


class _Protocol(web.RequestHandler):
    """Answers malformed requests with problems, as the views do.

    aiohttp would quote the input in its response and, with a traceback, in the log. A header that is too long
    may well be a token.
    """

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 (aiohttp's signature)
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 (as above)
    ) -> web.StreamResponse:
        """Return the problem, and close the connection."""
        detail = "The server failed; the worker's log says why."
        if status >= 500:
            logger.error("the web server failed", exc_info=exc)
        elif isinstance(exc, LineTooLong):
            detail = f"The request line or a header is longer than {self.max_field_size} bytes."
        else:
            detail = f"The request is malformed, or has more than {self.max_headers} headers."
        answer = problem(status, detail, HEADERS | SERVER)
        answer.force_close()
        return answer


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application, with `_Protocol`'s answers to malformed requests."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made.request_handler, request_factory=made.request_factory, **self._kwargs)


class Web(driver.Web):
    """Serves Millstream's views only: Faust's views show data to anybody, and its index is useless here."""

    production_blueprints: ClassVar[list[tuple[str, str]]] = []

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self._runner = Runner(self.web_app, access_log=None, keepalive_timeout=KEEP_SECONDS)
        self._secured = False
        self._tls: ssl.SSLContext | None = None

    def secure(self, conf: Settings) -> None:
        """Read the certificate and the token file; not in the constructor, because only serving needs them.

        Raises:
            TokensError: the token file cannot be used.
            TlsError: the certificate cannot be used.
        """
        self._tls = tls(conf)
        protect(self.web_app, conf)
        self._secured = True

    async def start_server(self) -> None:
        """Serve the views."""
        if not self._secured:
            raise RuntimeError("the views are served without their guard")
        await super().start_server()

    def _new_transport_tcp(self) -> web.TCPSite:
        conf = self.app.conf
        return web.TCPSite(self._runner, conf.web_bind, conf.web_port, ssl_context=self._tls)


def tls(conf: Settings) -> ssl.SSLContext | None:
    """Return the TLS context of the views; None without TLS.

    Raises:
        TlsError: a file cannot be read, or is not a certificate or key.
    """
    if conf.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    used = f"MILLSTREAM_TLS_CERT={conf.tls_cert} and MILLSTREAM_TLS_KEY={conf.tls_key}"
    try:
        context.load_cert_chain(conf.tls_cert, conf.tls_key)
        if conf.tls_ca is not None:
            used = f"MILLSTREAM_TLS_CA={conf.tls_ca}"
            context.load_verify_locations(conf.tls_ca)
            context.verify_mode = ssl.CERT_OPTIONAL
    except OSError as exc:
        raise TlsError(f"the views cannot be encrypted with {used}: {exc.strerror or exc}") from None
    return context


def require_port(host: str, port: int) -> None:
    """Check that the port of the web views is free.

    Raises:
        PortTakenError: it is not; the text says what to do.
    """
    try:
        socket.create_server((host, port)).close()
    except OSError as exc:
        raise PortTakenError(
            f"port {port} is taken or may not be used on {host} ({exc.strerror}): stop what listens there, "
            "or choose another with MILLSTREAM_WEB_PORT"
        ) from None
