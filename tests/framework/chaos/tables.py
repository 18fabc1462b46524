"""The tables of a service as its live workers show them."""

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import httpx

from tests.framework.service import Service, Worker

T = TypeVar("T")
CLIENT = httpx.Client(timeout=5)  # one for all: it takes long to make


class MovedError(Exception):
    """A worker has none of the partitions any more."""


class Tables:
    """Queries each partition's owner.

    Args:
        service: its workers must be up; waits until each partition has one owner.
        source: name of the source topic, without prefix.
        partitions: number of its partitions.
    """

    def __init__(self, service: Service, source: str, partitions: int = 4, seconds: float = 60) -> None:
        self.partitions = partitions
        self._service = service
        self._source = service.topic(source)
        self._clients: dict[Worker, httpx.Client] = {}
        self.owners = self._find(time.monotonic() + seconds)

    def __enter__(self) -> "Tables":
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients.values():
            client.close()

    def _find(self, deadline: float) -> dict[int, Worker]:
        while True:
            owners: dict[int, list[Worker]] = defaultdict(list)
            for worker in self._service.workers:
                for number in held(worker, self._source):
                    owners[number].append(worker)
            if len(owners) == self.partitions and all(len(found) == 1 for found in owners.values()):
                return {number: found[0] for number, found in owners.items()}
            assert time.monotonic() < deadline, f"not every partition has one owner: {dict(owners)}"
            time.sleep(0.1)

    def get(self, worker: Worker, path: str) -> Any:
        if worker not in self._clients:
            self._clients[worker] = httpx.Client(base_url=f"http://127.0.0.1:{worker.port}", timeout=30)
        answer = self._clients[worker].get(path)
        if answer.status_code == 503:
            raise MovedError
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def steadily(self, ask: Callable[[], T], seconds: float = 60) -> T:
        """Query until no partition moves meanwhile: only then do answers of several workers fit together."""
        deadline = time.monotonic() + seconds
        while True:
            owners = self.owners
            with suppress(MovedError):
                answer = ask()
                self.owners = self._find(deadline)
                if self.owners == owners:
                    return answer
            assert time.monotonic() < deadline, "partitions move all the time"
            self.owners = self._find(deadline)

    def of(self, partition: int, table: str, key: str) -> Any:
        """Query the owner of a partition for a key."""
        return self.get(self.owners[partition], f"/tables/{table}/{key}?local=true")

    def all(self, path: str) -> list[Any]:
        """Query every owner for what it holds."""
        return [self.get(worker, f"{path}?local=true") for worker in dict.fromkeys(self.owners.values())]


def held(worker: Worker, topic: str) -> dict[int, int]:
    """Return the partitions of a topic that a worker has restored, with the offset that each has come to."""
    try:
        health = CLIENT.get(f"http://127.0.0.1:{worker.port}/health").json()
    except httpx.TransportError:
        return {}
    return {
        int(number): p["offset"] or 0
        for p in health["partitions"]
        for name, _, number in [p["partition"].rpartition("/")]
        if name == topic and p["status"] == "ready"
    }
