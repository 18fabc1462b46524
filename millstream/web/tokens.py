"""The tokens of the views. Their file contains hashes only, so reading it grants no access."""

import hmac
import logging
import os
import re
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger(__name__)

READ, OPERATE = "read", "operate"
SCOPES = frozenset((READ, OPERATE))
HASH = re.compile(r"[0-9a-f]{64}")
FORM = "a name, scopes (read, operate, with commas) and the token's hash, as `millstream token` prints them"

# The `Authorization` of the current request, which is forwarded if workers have no certificates.
GIVEN: ContextVar[str | None] = ContextVar("GIVEN", default=None)


class TokensError(Exception):
    """The token file cannot be used; the text says where and what to do."""


class Token(NamedTuple):
    """A token in the file; only its hash is known."""

    name: str
    scopes: frozenset[str]
    digest: str


def digest(token: str) -> str:
    """Return the hash of a token. Tokens are long and random, so a fast hash is enough."""
    # Headers may contain bytes that are not UTF-8; aiohttp passes them on as surrogates.
    return sha256(token.encode(errors="surrogateescape")).hexdigest()


def parse(lines: Iterable[str]) -> tuple[list[Token], list[int]]:
    """Parse tokens, one per line: name, scopes with commas, hex SHA-256 of the token. `#` begins a comment.

    Returns:
        The tokens, and the numbers of the invalid lines.
    """
    found, bad = [], []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) == 3 and set(words[1].split(",")) <= SCOPES and HASH.fullmatch(words[2].lower()):
            found.append(Token(words[0], frozenset(words[1].split(",")), words[2].lower()))
        else:
            bad.append(number)
    return found, bad


class Tokens:
    """The tokens of a file. It is read again when it changes: revoking a token needs no restart.

    The current content applies: invalid lines grant no access, and an unreadable file grants nobody access.
    Each change for the worse is logged once.

    Raises:
        TokensError: at the start the file cannot be read, or a line is invalid.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokens: Sequence[Token] = ()
        self._version: tuple[int, ...] | None = None
        self._error: str | None = None
        if error := self._load():
            raise TokensError(error)

    @property
    def readable(self) -> bool:
        """Whether the last read of the file succeeded."""
        return self._version is not None

    def find(self, token: str) -> Token | None:
        """Return the entry of a token; None if it is unknown."""
        error = self._load()
        if error and error != self._error:
            logger.error("%s", error)
        self._error = error
        wanted, found = digest(token), None
        for one in self._tokens:  # all of them: the duration must not reveal similar tokens
            if hmac.compare_digest(one.digest, wanted):
                found = one
        return found

    def _load(self) -> str | None:
        """Read the file if it has changed.

        Returns:
            What is wrong with the file; None if nothing is wrong, or the file is unchanged.
        """
        name = f"the tokens in {self._path} (MILLSTREAM_TOKENS)"
        try:
            about = os.stat(self._path)
            version = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
            if version == self._version:
                return None
            self._tokens, bad = parse(self._path.read_text().splitlines())
        except (OSError, UnicodeDecodeError) as exc:
            self._tokens, self._version = (), None
            why = exc.strerror if isinstance(exc, OSError) else "it is no text"
            return f"{name} cannot be read ({why}): no token is let in"
        self._version = version
        if bad:
            return f"{name}: {_lines(bad)} let nobody in: wanted are {FORM}"
        return None


def _lines(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
    return f"line {shown}" if len(numbers) == 1 else f"lines {shown}"
