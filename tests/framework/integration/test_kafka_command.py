"""`millstream kafka` as a user runs it: a real broker of Java, and the mock cluster."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from millstream.kafka.local import java, net, process, state

needs_java = pytest.mark.skipif(java.why_not() is not None, reason=f"no Kafka of Java here: {java.why_not()}")

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    # Blanks, commas and other alphabets have broken Kafka's configuration before.
    return tmp_path / "état, of =a #test" / "kafka"


@pytest.fixture
def millstream(home: Path) -> Iterator[Command]:
    """Runs `millstream …` with its own state; at the end nothing of it may be left running."""
    env = {**os.environ, "MILLSTREAM_STATE_DIR": str(home.parent)}
    env.pop("KAFKA_BOOTSTRAP_SERVERS", None)

    def run(*arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "millstream", *arguments]
        return subprocess.run(
            command,
            env={**env, **more},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )

    yield run
    last = state.load(home)
    run("kafka", "down")
    if last is not None:
        assert not process.lives(last.pid, last.born)


def _address(millstream: Command) -> str:
    done = millstream("kafka", "status")
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())["address"]


def _process(home: Path) -> tuple[int, str]:
    """Pid and start time of the Kafka that was started last."""
    last = state.load(home)
    assert last is not None
    assert last.pid is not None
    assert last.born is not None
    return last.pid, last.born


async def _create(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()


async def _produce(bootstrap: str, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True) as producer:
        await producer.send_and_wait(topic, value, key=b"k", partition=0, timestamp_ms=1000)


async def _consume(bootstrap: str, topic: str, group: str | None = None) -> list[tuple[bytes, int]]:
    """Values and timestamp types of partition 0."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest")
    if group is None:
        consumer.assign([TopicPartition(topic, 0)])
    else:
        consumer.subscribe([topic])
    async with consumer:
        records = await consumer.getmany(timeout_ms=20_000)
        return [(r.value, r.timestamp_type) for r in records.get(TopicPartition(topic, 0), [])]


@needs_java
@pytest.mark.kafka
def test_life_of_the_java_broker(millstream: Command, home: Path) -> None:
    assert millstream("kafka", "status").returncode == 1
    up = millstream("kafka", "up")
    assert up.returncode == 0, up.stdout + up.stderr
    assert "Kafka is up at 127.0.0.1:" in up.stdout
    address = _address(millstream)
    pid, _ = _process(home)
    assert os.getsid(pid) != os.getsid(0)

    again = millstream("kafka", "up")
    assert f"already runs at {address}" in again.stdout
    assert _process(home)[0] == pid

    asyncio.run(_create(address, "t"))
    asyncio.run(_produce(address, "t", b"one"))
    log_append_time = 1
    assert [(b"one", log_append_time)] == asyncio.run(_consume(address, "t", group="g"))

    refused = millstream("kafka", "wipe", stdin="y\n")
    assert refused.returncode == 1
    assert "stop it first" in refused.stderr
    down = millstream("kafka", "down")
    assert "is stopped; its data is kept" in down.stdout
    assert millstream("kafka", "status").returncode == 1
    assert "not running" in millstream("kafka", "down").stdout

    # A restart, at the port of before.
    assert millstream("kafka", "up").returncode == 0
    assert _address(millstream) == address
    assert [(b"one", log_append_time)] == asyncio.run(_consume(address, "t"))

    # Another one, when that port is busy.
    millstream("kafka", "down")
    with socket.create_server((net.HOST, int(address.rpartition(":")[2]))):
        assert millstream("kafka", "up").returncode == 0
        moved = _address(millstream)
    assert moved != address
    assert [(b"one", log_append_time)] == asyncio.run(_consume(moved, "t"))

    last = _process(home)
    assert millstream("kafka", "wipe", "--yes").returncode == 0
    assert not home.exists()
    assert not process.lives(*last)


@needs_java
@pytest.mark.kafka
def test_killed_broker_starts_again_with_its_data(millstream: Command, home: Path) -> None:
    millstream("kafka", "up")
    asyncio.run(_create(_address(millstream), "t"))
    asyncio.run(_produce(_address(millstream), "t", b"one"))
    process.stop(*_process(home), grace=0)

    assert millstream("kafka", "status").returncode == 1
    assert millstream("kafka", "up").returncode == 0
    assert [value for value, _ in asyncio.run(_consume(_address(millstream), "t"))] == [b"one"]

    millstream("kafka", "down")
    kept = millstream("kafka", "wipe", stdin="n\n")
    assert kept.returncode == 1
    assert home.exists()
    assert millstream("kafka", "wipe", stdin="y\n").returncode == 0
    assert not home.exists()


@needs_java
@pytest.mark.kafka
def test_two_at_once_start_one_broker_at_the_given_port(millstream: Command) -> None:
    port = str(net.choose_port(None, None))
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: millstream("kafka", "up", "--port", port), range(2)))

    assert sorted(done.stdout.rpartition(" 127")[0] for done in both) == [
        "Kafka already runs at",
        "Kafka is up at",
    ]
    assert _address(millstream) == f"127.0.0.1:{port}"


@pytest.fixture
def bare_machine(tmp_path: Path) -> dict[str, str]:
    """Environment of a machine with neither Java nor Docker."""
    (tmp_path / "bin").mkdir()
    return {"PATH": str(tmp_path / "bin"), "JAVA_HOME": ""}


def test_life_of_the_mock_cluster(millstream: Command, bare_machine: dict[str, str], home: Path) -> None:
    pytest.importorskip("confluent_kafka")
    up = millstream("kafka", "up", **bare_machine)
    assert up.returncode == 0, up.stdout + up.stderr
    assert "Java with Maven: no Java found" in up.stdout
    assert "Docker Compose: no `docker` found" in up.stdout
    assert "for a first look only" in up.stdout
    address = _address(millstream)

    asyncio.run(_produce(address, "t", b"one"))
    assert [value for value, _ in asyncio.run(_consume(address, "t", group="g"))] == [b"one"]

    last = _process(home)
    assert "in memory and is gone" in millstream("kafka", "down").stdout
    assert not process.lives(*last)


def test_limits_of_the_mock_cluster_are_what_its_notice_says(
    millstream: Command, bare_machine: dict[str, str]
) -> None:
    pytest.importorskip("confluent_kafka")
    millstream("kafka", "up", **bare_machine)

    async def look(bootstrap: str) -> None:
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=2_000_000) as producer:
            assert await producer.partitions_for("t") == {0, 1, 2, 3}
            for _ in range(8):
                await producer.send_and_wait("t", os.urandom(1_000_000), partition=0)
        partition = TopicPartition("t", 0)
        async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
            assert (await consumer.end_offsets([partition]))[partition] == 8
            assert 2 <= (await consumer.beginning_offsets([partition]))[partition] <= 4
            assert await consumer.offsets_for_times({partition: 0}) == {partition: None}

    asyncio.run(look(_address(millstream)))
    with pytest.raises(AttributeError):  # aiokafka looks for a controller, and there is none
        asyncio.run(_create(_address(millstream), "other"))


def test_mock_cluster_cannot_be_given_a_port(millstream: Command, bare_machine: dict[str, str]) -> None:
    pytest.importorskip("confluent_kafka")
    done = millstream("kafka", "up", "--port", "21000", **bare_machine)

    assert done.returncode == 1
    assert "leave --port out" in done.stderr


@pytest.mark.parametrize("command", [(), ("up",), ("down",), ("status",), ("wipe",)])
def test_help_has_examples(millstream: Command, command: tuple[str, ...]) -> None:
    done = millstream("kafka", *command, "--help")

    assert f"  millstream kafka {' '.join(command)}".rstrip() in done.stdout
