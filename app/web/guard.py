"""Who may ask the views, how often, and what every answer tells browsers."""

import hmac
import ssl
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

from app.settings import Settings
from app.web.problems import ProblemError

READ, OPERATE = "read", "operate"
SCOPES = frozenset((READ, OPERATE))
# For orchestrators, which have no tokens.
OPEN = frozenset(("/live", "/ready"))

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="millrace"'}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# Of a request's body, in bytes: no view takes more.
MAX_BODY = 65_536
# Whose requests are counted at the same time.
MAX_CLIENTS = 10_000

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]


class TokensError(Exception):
    """The file of tokens cannot be read; the text says where and what to do."""


class Token(NamedTuple):
    """A token, as it is in the file: its hash only."""

    name: str
    scopes: frozenset[str]
    digest: str


def digest(token: str) -> str:
    """Return the hash of a token. Tokens are long and random, so a fast hash is enough."""
    return sha256(token.encode()).hexdigest()


def parse(lines: Iterable[str]) -> list[Token]:
    """Read tokens, one a line: name, scopes with commas, SHA-256 of the token in hex. `#` begins a comment.

    Raises:
        TokensError: a line is none.
    """
    found = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 3 or len(words[2]) != 64 or not set(words[1].split(",")) <= SCOPES:
            raise TokensError(
                f"line {number}: wanted are a name, scopes ({' and '.join(sorted(SCOPES))}, with commas) and "
                "the token's hash, as `millrace token` prints them"
            )
        found.append(Token(words[0], frozenset(words[1].split(",")), words[2].lower()))
    return found


class Tokens:
    """The tokens of a file, read again when it changes: to take one away needs no new start.

    Raises:
        TokensError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = -1.0
        self._tokens: Sequence[Token] = ()
        self._load()

    def _load(self) -> None:
        try:
            changed = self._path.stat().st_mtime
            if changed != self._changed:
                self._tokens = parse(self._path.read_text().splitlines())
                self._changed = changed
        except (OSError, TokensError, UnicodeDecodeError) as exc:
            raise TokensError(f"the tokens in {self._path} (MILLRACE_TOKENS): {exc}") from None

    def find(self, token: str) -> Token | None:
        """Return the entry of a token; None if it is not known."""
        self._load()
        asked, found = digest(token), None
        for one in self._tokens:  # all of them, so that time does not tell which is like it
            if hmac.compare_digest(one.digest, asked):
                found = one
        return found


class Limiter:
    """Lets each client ask so many times a second, and twice that at once.

    Args:
        rate: requests a second; 0 for any number.
        clock: tells the time, seconds.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admit(self, client: str) -> float:
        """Return 0 if a client may ask now, else the seconds after which it may."""
        if not self._rate:
            return 0.0
        now, most = self._clock(), 2 * self._rate
        left, last = self._clients.pop(client, (most, now))
        left = min(most, left + (now - last) * self._rate)
        self._clients[client] = (left - 1 if left >= 1 else left, now)
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        return 0.0 if left >= 1 else (1 - left) / self._rate


def guard(conf: Settings) -> Middleware:
    """Make the middleware that lets in whoever may ask.

    Raises:
        TokensError: the file of tokens cannot be read.
    """
    tokens = None if conf.tokens is None else Tokens(conf.tokens)
    limiter = Limiter(conf.rate_limit)
    origins = frozenset(filter(None, conf.cors_origins.split(",")))

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        crossing = (
            {"Access-Control-Allow-Origin": origin, "Vary": "Origin"} if origin and origin in origins else {}
        )
        if crossing and request.method == "OPTIONS":
            allowed = {
                "Access-Control-Allow-Headers": "Authorization",
                "Access-Control-Allow-Methods": "GET",
            }
            return web.Response(status=204, headers=crossing | allowed)
        if request.path not in OPEN:
            client = _client(request, tokens)
            if wait := limiter.admit(client):
                raise ProblemError(
                    429, "This client asks too often (MILLRACE_RATE_LIMIT).", {"Retry-After": f"{wait:.0f}"}
                )
        response = await handler(request)
        response.headers.update(crossing)
        return response

    return check


def _client(request: web.Request, tokens: Tokens | None) -> str:
    """Return who asks.

    Raises:
        ProblemError: nobody who may.
    """
    address = request.remote or "unknown"
    if tokens is None:
        return address
    if request.transport is not None and request.transport.get_extra_info("peercert"):
        return address  # it has a certificate of our authority: another worker
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    found = tokens.find(token.strip()) if kind.lower() == "bearer" else None
    if found is None:
        raise ProblemError(
            401, "A known token is wanted: `Authorization: Bearer …`; `millrace token` makes one.", CHALLENGE
        )
    scope = READ if request.method in ("GET", "HEAD") else OPERATE
    if scope not in found.scopes:
        raise ProblemError(403, f"The token {found.name!r} has not the scope {scope!r}.")
    return f"token {found.name}"


@web.middleware
async def headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell browsers to be careful; what a view has set itself stays."""
    response = await handler(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def tls(conf: Settings) -> ssl.SSLContext | None:
    """Return how the views are encrypted; None if they are not.

    Raises:
        OSError: a file cannot be read, or is no certificate or key.
    """
    if conf.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(conf.tls_cert, conf.tls_key)
    if conf.tls_ca is not None:
        context.load_verify_locations(conf.tls_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
