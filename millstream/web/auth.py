"""Authentication, scopes, rate and size limits of the views, and the security headers of responses."""

import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

from aiohttp import web

from millstream.settings import Settings
from millstream.web.problems import ProblemError
from millstream.web.tokens import GIVEN, OPERATE, READ, SCOPES, Tokens

# Open to everybody: the probes, because orchestrators have no tokens and kill a worker that does not answer
# them; and the pages' files, because the data that they show is requested with a token.
OPEN = frozenset(("/live", "/ready", "/", "/docs", "/page/{name}"))
# Methods that change nothing.
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# Replaces the header with the versions of Python and aiohttp.
SERVER = {"Server": "millstream"}

# Limit of a request's body, in bytes: no view takes more.
MAX_BODY = 65_536
# Limit of the clients whose requests are counted at the same time.
MAX_CLIENTS = 10_000
# Seconds to wait before a retry, when the token file could not be read.
TOKENS_RETRY = {"Retry-After": "5"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Caller(NamedTuple):
    """The client of a request, and its scopes.

    Attributes:
        name: name under which its requests are counted; empty if they are not counted.
        scopes: the scopes of the client.
    """

    name: str
    scopes: frozenset[str] = SCOPES


class Limiter:
    """A rate limit per client: a number of requests per second, and a burst of twice that number.

    Args:
        rate: requests per second; 0 for no limit.
        clock: returns the time, in seconds.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._most = max(1.0, 2 * rate)
        self._clock = clock
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admit(self, client: str) -> float:
        """Return 0 if a client may send a request now, else the seconds to wait."""
        if not self._rate:
            return 0.0
        now = self._clock()
        left, last = self._clients.pop(client, (self._most, now))
        left = min(self._most, left + (now - last) * self._rate)
        self._clients[client] = (left - 1 if left >= 1 else left, now)
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        return 0.0 if left >= 1 else (1 - left) / self._rate


class Auth:
    """Checks who may use the views.

    With a token file or a certificate authority, only known clients are admitted, except for `OPEN`.

    Raises:
        TokensError: the token file cannot be used.
    """

    def __init__(self, conf: Settings) -> None:
        self._tokens = None if conf.tokens is None else Tokens(conf.tokens)
        self._certificates = conf.tls_ca is not None
        self._limiter = Limiter(conf.rate_limit)
        self._origins = conf.origins

    def admit(self, request: web.Request) -> None:
        """Check a request.

        Raises:
            ProblemError: the client is unknown, has not the scope, or sends too many requests; or the request
                is too large.
        """
        if not _is_open(request):
            caller = self._caller(request)
            # Unknown clients are counted by address, so they do not use up the limit of known clients.
            self._limit(_address(request) if caller is None else caller.name)
            self._authorize(request, caller)
        if "Transfer-Encoding" in request.headers:
            raise ProblemError(411, "A request with a body must have a Content-Length header.")
        if (request.content_length or 0) > MAX_BODY:
            raise ProblemError(413, f"A request's body must not be larger than {MAX_BODY} bytes.")

    def preflight(self, request: web.Request) -> web.Response | None:
        """Answer a CORS preflight request of a known page; return None for all other requests."""
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
            return None
        if request.headers.get("Origin") not in self._origins:
            return None
        self._limit(_address(request))
        allowed = {
            "Access-Control-Allow-Headers": "Authorization, Last-Event-ID",
            "Access-Control-Allow-Methods": "GET, HEAD",
            "Access-Control-Max-Age": "600",
        }
        return web.Response(status=204, headers=allowed)

    async def mark(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the security headers and the CORS headers; headers that a view has set are kept."""
        headers = response.headers
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        headers.update(SERVER)
        if self._origins:
            headers["Vary"] = f"{headers['Vary']}, Origin" if "Vary" in headers else "Origin"
            if (origin := request.headers.get("Origin", "")) in self._origins:
                headers["Access-Control-Allow-Origin"] = origin
                headers["Access-Control-Expose-Headers"] = "Retry-After"

    def _caller(self, request: web.Request) -> Caller | None:
        """Return the client; None if it is unknown but has to be known."""
        if self._certificates and _certificate(request):
            return Caller("")  # a worker; its request was already counted where it came in
        if self._tokens is None:
            return None if self._certificates else Caller(_address(request))
        given = request.headers.getall("Authorization", [])
        kind, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        found = self._tokens.find(token.strip()) if kind.lower() == "bearer" else None
        if found is None:
            return None
        if not self._certificates:
            GIVEN.set(given[0])
        return Caller(f"token {found.name}", found.scopes)

    def _limit(self, client: str) -> None:
        if client and (wait := self._limiter.admit(client)):
            raise ProblemError(
                429,
                "This client sends too many requests (MILLSTREAM_RATE_LIMIT).",
                {"Retry-After": str(math.ceil(wait))},
            )

    def _authorize(self, request: web.Request, caller: Caller | None) -> None:
        if caller is None:
            if self._tokens is None:
                raise ProblemError(401, "A certificate of the workers' authority is required.", _challenge())
            given = "Authorization" in request.headers
            if given and not self._tokens.readable:
                raise ProblemError(503, "The worker cannot read its tokens; its log says why.", TOKENS_RETRY)
            error = {"error": "invalid_token"} if given else {}
            raise ProblemError(
                401,
                "A valid token is required: `Authorization: Bearer …`; `millstream token` creates one.",
                _challenge(**error),
            )
        scope = scope_of(request.method)
        if scope not in caller.scopes:
            raise ProblemError(
                403,
                f"The {caller.name} does not have the scope {scope!r}.",
                _challenge(error="insufficient_scope", scope=scope),
            )


def protect(application: web.Application, conf: Settings) -> None:
    """Check all requests to the views of an application.

    Raises:
        TokensError: the token file cannot be used.
    """
    auth = Auth(conf)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if (answer := auth.preflight(request)) is not None:
            return answer
        auth.admit(request)
        return await handler(request)

    application.middlewares.append(check)
    # Not in the middleware: a streamed response has already sent its headers when it returns there.
    application.on_response_prepare.append(auth.mark)


def scope_of(method: str) -> str:
    """Return the scope that a method requires."""
    return READ if method in SAFE else OPERATE


def _is_open(request: web.Request) -> bool:
    # By the view, not by the path as the client wrote it.
    resource = request.match_info.route.resource
    return resource is not None and resource.canonical in OPEN


def _certificate(request: web.Request) -> bool:
    """Return whether the client has a certificate; TLS admits only those of the workers' authority."""
    return request.transport is not None and bool(request.transport.get_extra_info("peercert"))


def _address(request: web.Request) -> str:
    """Return the client's address; for IPv6 its network, because a client may have many addresses in it.

    The forwarding headers of proxies are ignored, because anybody can set them.
    """
    return _client(request.remote or "unknown")


@lru_cache(maxsize=1024)
def _client(remote: str) -> str:
    try:
        address = ip_address(remote.partition("%")[0])
    except ValueError:
        return remote
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Network((address, 64), strict=False))
    return str(address)


def _challenge(**parameters: str) -> dict[str, str]:
    """Return the challenge header of RFC 6750."""
    values = {"realm": "millstream"} | parameters
    return {"WWW-Authenticate": "Bearer " + ", ".join(f'{name}="{value}"' for name, value in values.items())}
