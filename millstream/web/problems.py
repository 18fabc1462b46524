"""Errors of the web views, as RFC 9457 problems."""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import orjson
from aiohttp import web

logger = logging.getLogger(__name__)


class ProblemError(Exception):
    """An error that is returned to the client as a problem.

    Args:
        status: HTTP status.
        detail: what happened, and what to do about it.
        headers: further headers of the response.
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    """Return the response of a problem."""
    return web.Response(
        status=status,
        body=orjson.dumps({"title": HTTPStatus(status).phrase, "status": status, "detail": detail}),
        content_type="application/problem+json",
        headers=headers,
    )


@web.middleware
async def problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer every error with a problem, never with a traceback."""
    try:
        return await handler(request)
    except ProblemError as exc:
        return problem(exc.status, exc.detail, exc.headers)
    except web.HTTPNotFound:
        return problem(404, f"There is nothing at {request.path}; /tables lists the tables.")
    except web.HTTPMethodNotAllowed as exc:
        allowed = ", ".join(sorted(exc.allowed_methods))
        return problem(405, f"{request.method} is not allowed here; {allowed} is.", {"Allow": allowed})
    except web.HTTPException as exc:
        return problem(exc.status, exc.reason)
    except Exception:  # a bug: the client gets a problem, the log gets the traceback
        # Without the query string, which may contain a token.
        logger.exception("%s %s failed", request.method, request.rel_url.raw_path)
        return problem(500, "The view failed; the worker's log says why.")
