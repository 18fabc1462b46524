"""Scatter-gather: requests to other workers for the rows of the partitions that they own."""

import asyncio
import logging
import ssl
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import httpx
import msgspec
from faust.types import TP

from millstream.engine.engine import Engine
from millstream.settings import Settings
from millstream.web.partition_reads import PartitionRead
from millstream.web.problems import ProblemError
from millstream.web.tokens import GIVEN

# httpx logs each request at INFO.
logging.getLogger("httpx").setLevel(logging.WARNING)

# Marks a request from another worker, which is never forwarded. The value is the partition numbers.
PARTITIONS_HEADER = "Millstream-Partitions"
# Time limit for another worker's answer.
WORKER_SECONDS = 3.0

UNKNOWN = "it has no known owner (yet)"
MOVING = "its owner does not hold it (yet)"
HERE = "it is not ready here (or its owner has this worker's address: see MILLSTREAM_WEB_ADVERTISE)"


class ScatterGather:
    """Sends requests to the workers of the group.

    Args:
        engine: the engine; it knows the owners of partitions.
        connect: creates the client that all requests share.
    """

    def __init__(self, engine: Engine, connect: Callable[[], httpx.AsyncClient]) -> None:
        self._engine = engine
        self._connect = connect
        self._client: httpx.AsyncClient | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the worker is stopping."""
        return self._closed

    async def close(self) -> None:
        """Close the connections to the other workers, and send them no more requests."""
        self._closed = True
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def owners(self, target: str, tps: Collection[TP]) -> tuple[list[PartitionRead], dict[TP, str]]:
        """Read partitions from their owners, all at once.

        Args:
            target: path and query of the client's request.
            tps: partitions that this worker does not own.

        Returns:
            The reads, and for each other partition the reason why it is missing.

        Raises:
            ProblemError: the query cannot be answered.
        """
        owners = self._engine.peers.owners
        targets = {tp: [owners[tp]] for tp in tps if tp in owners}
        why = {tp: HERE if owners.get(tp) == self._engine.url else UNKNOWN for tp in tps}
        return await self._ask(target, targets, why)

    async def standbys(
        self, target: str, missing: Mapping[TP, str]
    ) -> tuple[list[PartitionRead], dict[TP, str]]:
        """Read partitions from their standbys; see `owners`."""
        standbys = self._engine.peers.standbys
        return await self._ask(target, {tp: standbys.get(tp, []) for tp in missing}, missing)

    async def everybody(self, target: str) -> tuple[list[Any], dict[str, str]]:
        """Send a request to all other workers at once.

        Args:
            target: path and query.

        Returns:
            The JSON answers, and for each other worker's URL the reason why it is missing.
        """
        urls = sorted(self._engine.peers.urls - {self._engine.url})
        answers = await asyncio.gather(*(self._get(url, target, {}) for url in urls))
        found, missing = [], {}
        for url, answer in zip(urls, answers, strict=True):
            if isinstance(answer, str):
                missing[url] = answer
            elif answer.status_code != httpx.codes.OK:
                missing[url] = _refused(url, answer)
            else:
                try:
                    found.append(answer.json())
                except ValueError as exc:
                    missing[url] = f"{url} gave no answer that can be read: {exc}"
        return found, missing

    async def _ask(
        self, target: str, targets: Mapping[TP, Iterable[str]], why: Mapping[TP, str]
    ) -> tuple[list[PartitionRead], dict[TP, str]]:
        by_worker: dict[str, list[TP]] = defaultdict(list)
        for tp, urls in targets.items():
            for url in urls:
                if url != self._engine.url:
                    by_worker[url].append(tp)
        answers = await asyncio.gather(*(self._worker(url, target, tps) for url, tps in by_worker.items()))
        found: dict[TP, PartitionRead] = {}
        missing = dict(why)
        for tps, answer in zip(by_worker.values(), answers, strict=True):
            if isinstance(answer, str):
                missing.update(dict.fromkeys(tps, answer))
                continue
            missing.update(dict.fromkeys(tps, MOVING))
            for part in answer:
                if part.tp in tps and (part.tp not in found or part.staleness < found[part.tp].staleness):
                    found[part.tp] = part
        return list(found.values()), {tp: text for tp, text in missing.items() if tp not in found}

    async def _worker(self, url: str, target: str, tps: Collection[TP]) -> list[PartitionRead] | str:
        numbers = ",".join(str(number) for number in sorted({tp.partition for tp in tps}))
        answer = await self._get(url, target, {PARTITIONS_HEADER: numbers})
        if isinstance(answer, str):
            return answer
        if answer.status_code == httpx.codes.BAD_REQUEST:
            raise ProblemError(400, _detail(answer))
        if answer.status_code != httpx.codes.OK:
            return _refused(url, answer)
        try:
            return msgspec.msgpack.decode(answer.content, type=list[PartitionRead])
        except msgspec.MsgspecError as exc:
            return f"{url} gave no answer that can be read: {exc}"

    async def _get(self, url: str, target: str, headers: Mapping[str, str]) -> httpx.Response | str:
        """Return a worker's response, or the reason why there is none."""
        if self._closed:
            return "this worker is stopping"
        if self._client is None:
            self._client = self._connect()
        given = GIVEN.get()
        sent = {**headers, "Authorization": given} if given else headers
        try:
            async with asyncio.timeout(WORKER_SECONDS):
                return await self._client.get(url + target, headers=sent)
        except (TimeoutError, httpx.TimeoutException):
            return f"{url} did not answer within {WORKER_SECONDS:.0f} s"
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            return f"{url} cannot be reached ({exc!r})"


def _refused(url: str, answer: httpx.Response) -> str:
    return f"{url} answered {answer.status_code}: {_detail(answer)}"


def connect(conf: Settings) -> httpx.AsyncClient:
    """Create the client for other workers. With TLS it trusts their authority, and presents a certificate.

    Raises:
        OSError: a file can no longer be read.
    """
    verify: ssl.SSLContext | bool = True
    if conf.tls_cert is not None:
        verify = ssl.create_default_context(cafile=conf.tls_ca)
        if conf.tls_ca is not None:
            verify.load_cert_chain(conf.tls_cert, conf.tls_key)
    return httpx.AsyncClient(verify=verify, trust_env=False, timeout=WORKER_SECONDS)


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
