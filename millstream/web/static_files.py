"""The static files of the live page and of /docs. They contain no data, and load nothing from other hosts."""

from functools import cache
from hashlib import blake2b
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from aiohttp import web

from millstream.web.problems import ProblemError

FOLDER = Path(__file__).parent / "page"
# Only its files are served; its Python code, which is for other web servers, is not imported.
SWAGGER = Path(str(distribution("swagger-ui-py").locate_file("swagger_ui/static")))

FILES = {
    "page.html": ("page.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    **{module.name: (module.name, "text/javascript") for module in sorted(FOLDER.glob("*.js"))},
    "docs.html": ("docs/docs.html", "text/html"),
    "docs.css": ("docs/docs.css", "text/css"),
    "docs.js": ("docs/docs.js", "text/javascript"),
    "swagger.css": (str(SWAGGER / "swagger-ui.css"), "text/css"),
    "swagger.js": (str(SWAGGER / "swagger-ui-bundle.js"), "text/javascript"),
    "uplot.css": ("uplot/uPlot.min.css", "text/css"),
    "uplot.js": ("uplot/uPlot.iife.min.js", "text/javascript"),
}

HEADERS = {
    # Browsers revalidate each time, and get 304 if the file is the same: an update of the worker is visible
    # at once.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page(request: Any, name: str) -> web.Response:
    """Return the response with a file.

    Raises:
        ProblemError: there is no such file.
    """
    if name not in FILES:
        raise ProblemError(404, f"The pages have no file {name!r}.")
    body, tag = _read(name)
    # At / the same path has a JSON answer for programs.
    headers = {**HEADERS, "ETag": tag} | ({"Vary": "Accept"} if request.path == "/" else {})
    if tag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type=FILES[name][1], charset="utf-8", headers=headers)


@cache
def _read(name: str) -> tuple[bytes, str]:
    body = (FOLDER / FILES[name][0]).read_bytes()
    return body, f'"{blake2b(body, digest_size=12).hexdigest()}"'
