"""Loopback ports, and whether a Kafka answers on one."""

import random
import socket
import struct

from millstream.kafka.local.state import KafkaUnavailable

HOST = "127.0.0.1"

# Below every system's range for outgoing connections: a client that reconnects in a loop while the broker
# is down would sooner or later be given the broker's port as its own, and connect to itself.
PORTS = range(20_000, 30_000)


def is_free(port: int) -> bool:
    """Whether a server can listen on this loopback port now."""
    with socket.socket() as server:
        # As Java does: connections that are still timing out do not count.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, port))
            server.listen(1)
        except OSError:
            return False
    return True


def choose_port(port: int | None, former: int | None) -> int:
    """The wanted port, else the former one if it is free, else any that is free.

    Raises:
        KafkaUnavailable: the wanted port is taken.
    """
    if port is not None:
        if not is_free(port):
            raise KafkaUnavailable(
                f"port {port} of {HOST} is taken: give another --port, or none for any free one."
            )
        return port
    if former is not None and is_free(former):
        return former
    candidates = random.sample(PORTS, 100)  # nosec B311
    free = next((candidate for candidate in candidates if is_free(candidate)), None)
    if free is None:
        raise KafkaUnavailable(f"found no free port on {HOST}: give one with --port.")
    return free


def answers(port: int, *, timeout: float = 2.0) -> bool:
    """Whether a broker returns its cluster's metadata on this loopback port, within `timeout` seconds."""
    # Metadata (key 3) version 1, correlation id 1, no client id, no topics: its answer is
    # size, correlation id, then the array of brokers.
    request = struct.pack(">hhihi", 3, 1, 1, -1, 0)
    try:
        with socket.create_connection((HOST, port), timeout) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.makefile("rb").read(12)
    except OSError:
        return False
    if len(answer) < 12:
        return False
    _, correlation, brokers = struct.unpack(">iii", answer)
    return bool(correlation == 1 and brokers > 0)


def accepts(bootstrap: str, *, timeout: float = 3.0) -> bool:
    """Whether anything listens on one of the comma-separated `host:port` addresses.

    Only the connection is tried, since an outside Kafka may ask for TLS or a login first.
    """
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition("://")[2].rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout).close()
        except (OSError, ValueError, OverflowError):
            continue
        return True
    return False
