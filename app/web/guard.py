"""Who may ask the views, how often and how much, and what every answer tells browsers."""

import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

from aiohttp import web

from app.settings import Settings
from app.web.problems import ProblemError
from app.web.tokens import GIVEN, OPERATE, READ, SCOPES, Tokens

# For orchestrators, which have no tokens, and end a worker that does not answer them; and the pages' files:
# what they show, they ask for with a token.
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
# In place of the versions of Python and aiohttp.
SERVER = {"Server": "millstream"}

# Of a request's body, in bytes: no view takes more.
MAX_BODY = 65_536
# Whose requests are counted at the same time.
MAX_CLIENTS = 10_000
# Seconds after which a file of tokens that could not be read may be there again.
TOKENS_RETRY = {"Retry-After": "5"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Caller(NamedTuple):
    """Who asks, and what it may.

    Attributes:
        name: under which its requests are counted; empty if they are not.
        scopes: its own.
    """

    name: str
    scopes: frozenset[str] = SCOPES


class Limiter:
    """Lets each client ask so many times a second, and twice that at once.

    Args:
        rate: requests a second; 0 for any number.
        clock: tells the time, seconds.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._most = max(1.0, 2 * rate)
        self._clock = clock
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admit(self, client: str) -> float:
        """Return 0 if a client may ask now, else the seconds after which it may."""
        if not self._rate:
            return 0.0
        now = self._clock()
        left, last = self._clients.pop(client, (self._most, now))
        left = min(self._most, left + (now - last) * self._rate)
        self._clients[client] = (left - 1 if left >= 1 else left, now)
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        return 0.0 if left >= 1 else (1 - left) / self._rate


class Guard:
    """Lets in whoever may ask.

    With a file of tokens or an authority of certificates, nobody else is let in, except for `OPEN`.

    Raises:
        TokensError: the file of tokens cannot be used.
    """

    def __init__(self, conf: Settings) -> None:
        self._tokens = None if conf.tokens is None else Tokens(conf.tokens)
        self._certificates = conf.tls_ca is not None
        self._limiter = Limiter(conf.rate_limit)
        self._origins = conf.origins

    def admit(self, request: web.Request) -> None:
        """Do nothing for whoever may ask.

        Raises:
            ProblemError: it may not: who it is, what it may, how often, or how large the request is.
        """
        if not _is_open(request):
            caller = self._caller(request)
            # Who is unknown is counted, too: by address, which takes nothing from those that are known.
            self._limit(_address(request) if caller is None else caller.name)
            self._authorize(request, caller)
        if "Transfer-Encoding" in request.headers:
            raise ProblemError(411, "A request with a body must say how long it is (Content-Length).")
        if (request.content_length or 0) > MAX_BODY:
            raise ProblemError(413, f"A request's body may have {MAX_BODY} bytes.")

    def preflight(self, request: web.Request) -> web.Response | None:
        """Answer a browser that asks whether a page may ask; None if the request is none of a known page."""
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
        """Tell browsers to be careful, and which pages may read it; what a view has set itself stays."""
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
        """Return who asks; None if that is unknown and must not be."""
        if self._certificates and _certificate(request):
            return Caller("")  # a worker, which hands on what was counted where it came in
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
                "This client asks too often (MILLSTREAM_RATE_LIMIT).",
                {"Retry-After": str(math.ceil(wait))},
            )

    def _authorize(self, request: web.Request, caller: Caller | None) -> None:
        if caller is None:
            if self._tokens is None:
                raise ProblemError(401, "A certificate of the workers' authority is wanted.", _challenge())
            given = "Authorization" in request.headers
            if given and not self._tokens.readable:
                raise ProblemError(503, "The worker cannot read its tokens; its log says why.", TOKENS_RETRY)
            error = {"error": "invalid_token"} if given else {}
            raise ProblemError(
                401,
                "A known token is wanted: `Authorization: Bearer …`; `millstream token` makes one.",
                _challenge(**error),
            )
        scope = scope_of(request.method)
        if scope not in caller.scopes:
            raise ProblemError(
                403,
                f"The {caller.name} has not the scope {scope!r}.",
                _challenge(error="insufficient_scope", scope=scope),
            )


def protect(application: web.Application, conf: Settings) -> None:
    """Put a guard before the views of an application.

    Raises:
        TokensError: the file of tokens cannot be used.
    """
    guard = Guard(conf)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if (answer := guard.preflight(request)) is not None:
            return answer
        guard.admit(request)
        return await handler(request)

    application.middlewares.append(check)
    # Not by the middleware: an answer that is a stream has sent its headers when it comes back there.
    application.on_response_prepare.append(guard.mark)


def scope_of(method: str) -> str:
    """Return the scope that a method needs."""
    return READ if method in SAFE else OPERATE


def _is_open(request: web.Request) -> bool:
    # By the view that answers, not by the path as it is written.
    resource = request.match_info.route.resource
    return resource is not None and resource.canonical in OPEN


def _certificate(request: web.Request) -> bool:
    """Return whether the client has shown a certificate; TLS has let in only those of our authority."""
    return request.transport is not None and bool(request.transport.get_extra_info("peercert"))


def _address(request: web.Request) -> str:
    """Return the address of a client; of IPv6 the network, in which a client has as many as it likes.

    What proxies say of whom they ask for is not believed: anybody can say it.
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
    """Return the header of RFC 6750."""
    told = {"realm": "millstream"} | parameters
    return {"WWW-Authenticate": "Bearer " + ", ".join(f'{name}="{value}"' for name, value in told.items())}
