"""Kafka as a Java process: Apache's own jars, fetched once by Maven, in KRaft mode on one node."""

import base64
import os
import re
import shutil
import subprocess
import uuid
from pathlib import Path

from millstream.kafka.local import process
from millstream.kafka.local.jars import VERSION, cache, jars
from millstream.kafka.local.net import HOST, choose_port
from millstream.kafka.local.state import Echo, KafkaUnavailable, State, check_room

MIN_JAVA = 17

# Measured on two cores: without the optimizing compiler the broker starts 0.5 s sooner and needs half the
# CPU for its first four million records; it mostly copies bytes, so it loses little later.
HEAP = "-Xms256m -Xmx512m"
PERFORMANCE = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -Djava.awt.headless=true"
ALWAYS = (
    "-XX:+ExitOnOutOfMemoryError",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    # XXX is the zone's offset, with a colon.
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)

PROPERTIES = """\
# Written by `millstream kafka up` at every start.
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{broker},CONTROLLER://{host}:{controller}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers={host}:{controller}
inter.broker.listener.name=PLAINTEXT
# After a crash the controller keeps the broker out until its old session ends; by default for 9 s.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# Relative to the process's folder: a path may hold what this format or Kafka's lists do not take.
log.dirs=data
auto.create.topics.enable=false
message.max.bytes=10485760
replica.fetch.max.bytes=10485760
log.message.timestamp.type=LogAppendTime
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
"""


def why_not() -> str | None:
    """See `Backend`."""
    java = _java()
    if java is None:
        return f"no Java found (install a JDK {MIN_JAVA} or later, or set JAVA_HOME)"
    version = _java_version(java)
    if version is None:
        return f"`{java} -version` does not run (install a JDK {MIN_JAVA} or later)"
    if version < MIN_JAVA:
        return (
            f"{java} is Java {version}, too old (install a JDK {MIN_JAVA} or later, or set JAVA_HOME to one)"
        )
    if not cache().exists() and shutil.which("mvn") is None:
        return "no Maven found (install `mvn`; it is needed once, to download Kafka)"
    return None


def start(home: Path, port: int | None, former: int | None, echo: Echo) -> State:
    """See `Backend`."""
    check_room(home)
    java = _java()
    assert java is not None
    libs = jars(echo)
    broker = choose_port(port, former)
    controller = choose_port(None, None)
    (home / "server.properties").write_text(
        PROPERTIES.format(host=HOST, broker=broker, controller=controller)
    )
    # Java takes the encoding of file names from the locale.
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    command: list[str | Path] = [java, *_options(), "-cp", f"{libs}/*"]
    if not (home / "data/meta.properties").exists():  # written last, so an interrupted format is done again
        _format(home, command, env)
    log = home / "kafka.log"
    pid = process.spawn([*command, "kafka.Kafka", "server.properties"], cwd=home, log=log, env=env)
    return State(kind="java", bootstrap=f"{HOST}:{broker}", version=VERSION, pid=pid, born=process.born(pid))


def lives(state: State) -> bool:
    """See `Backend`."""
    return process.lives(state.pid, state.born)


def stop(state: State, echo: Echo) -> None:
    """See `Backend`."""
    assert state.pid is not None
    assert state.born is not None
    if not process.stop(state.pid, state.born):
        echo(
            f"Kafka (pid {state.pid}) did not end on SIGTERM and was killed; its next start checks the data."
        )


def wipe(state: State) -> None:
    """See `Backend`; all of it is in `home`."""


def last_words(home: Path) -> str:
    """See `Backend`."""
    return process.tail(home / "kafka.log")


def _java() -> str | None:
    java_home = os.environ.get("JAVA_HOME")
    java = (java_home and shutil.which("java", path=Path(java_home, "bin"))) or shutil.which("java")
    return java and str(Path(java).absolute())  # it is started in another folder


def _options() -> list[str]:
    """Options of the JVM; the environment may have others, by the names of Kafka's own scripts."""
    heap = os.environ.get("KAFKA_HEAP_OPTS") or HEAP
    performance = os.environ.get("KAFKA_JVM_PERFORMANCE_OPTS") or PERFORMANCE
    return [*heap.split(), *performance.split(), *ALWAYS]


def _java_version(java: str) -> int | None:
    """Major version, 8 for "1.8"; None if it does not run, as the stub of macOS without Java."""
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(found[1]) if found and done.returncode == 0 else None


def _format(home: Path, command: list[str | Path], env: dict[str, str]) -> None:
    """Make the data folder of a new cluster.

    Raises:
        KafkaUnavailable: Kafka's tool refuses.
    """
    shutil.rmtree(home / "data", ignore_errors=True)
    raw = uuid.uuid4().bytes
    # The first bit is cleared, so that the id cannot begin with the dash of an option.
    cluster = base64.urlsafe_b64encode(bytes([raw[0] & 0x7F]) + raw[1:]).decode().rstrip("=")
    tool = ["kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", "server.properties"]
    done = subprocess.run(
        [*command, *tool], cwd=home, env=env, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        raise KafkaUnavailable(
            f"Kafka could not format {home / 'data'}:\n{(done.stdout + done.stderr).strip()}"
        )
