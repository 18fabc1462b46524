"""Which Kafka is chosen and what happens when it cannot be had, with stand-ins for programs on PATH."""

import re
import shutil
import socket
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from millstream.kafka import local as kafka
from millstream.kafka.local import compose, jars, java, launch, net, process, state
from millstream.settings import Settings

JAVA = """
    case "$*" in
      *-version*) echo 'openjdk version "17.0.9" 2023-10-17' >&2 ;;
      *StorageTool*) /bin/mkdir data && : > data/meta.properties ;;
      *) {broker} ;;
    esac
"""
MAVEN = """
    echo run >> "$0.runs"
    /bin/sleep 0.3
    for word in "$@"; do
      case "$word" in -DoutputDirectory=*) /bin/mkdir -p "${word#*=}" && : > "${word#*=}/kafka.jar" ;; esac
    done
"""

Fake = Callable[[str, str], Path]
WithJava = Callable[[str], None]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A machine with nothing on it; call it to put a program there."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("JAVA_HOME", "KAFKA_BOOTSTRAP_SERVERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)  # what an import of it meets

    def put(name: str, script: str) -> Path:
        program = programs / name
        program.write_text("#!/bin/sh\n" + textwrap.dedent(script))
        program.chmod(0o755)
        return program

    return put


@pytest.fixture
def settings(tmp_path: Path, fake: Fake) -> Settings:
    return Settings(state_dir=tmp_path / "state")


# Which Kafka


def test_address_of_an_outside_kafka_is_taken_as_it_is(settings: Settings) -> None:
    outside = settings.model_copy(update={"kafka_bootstrap_servers": "a:1,b:2"})

    assert kafka.bootstrap(outside) == "a:1,b:2"


def test_no_kafka_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(
        kafka.KafkaUnavailable, match="run `millstream kafka up`, or set KAFKA_BOOTSTRAP_SERVERS"
    ):
        kafka.bootstrap(settings)
    assert kafka.status(settings) is None
    assert not settings.state_dir.exists()


def test_outside_kafka_is_used_and_left_alone(settings: Settings) -> None:
    said: list[str] = []
    with socket.create_server((net.HOST, 0)) as server:
        address = f"127.0.0.1:1,{net.HOST}:{server.getsockname()[1]}"
        outside = settings.model_copy(update={"kafka_bootstrap_servers": address})
        expected = kafka.Running(kind="outside", bootstrap=address, started=False, pid=None)

        assert expected == kafka.up(outside, echo=said.append) == kafka.status(outside)
        assert kafka.down(outside, echo=said.append) is False
    assert "nothing to start" in said[0]
    assert "not ours to stop" in said[1]


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "127.0.0.1", "127.0.0.1:99999", "[::1]:1", "no.such.host.invalid:1"]
)
def test_outside_kafka_that_is_not_there(settings: Settings, address: str) -> None:
    outside = settings.model_copy(update={"kafka_bootstrap_servers": address})

    assert kafka.status(outside) is None
    with pytest.raises(kafka.KafkaUnavailable, match="nothing listens at KAFKA_BOOTSTRAP_SERVERS"):
        kafka.up(outside)


def test_machine_without_anything_gets_all_reasons(settings: Settings) -> None:
    with pytest.raises(kafka.KafkaUnavailable) as caught:
        kafka.up(settings)

    assert re.search(
        "no Java found .*no `docker` found .*confluent-kafka is not installed", str(caught.value), re.DOTALL
    )


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 1", "does not run"),
        ("""echo 'java version "1.8.0_392"' >&2""", "is Java 8, too old (install a JDK 17"),
        ("""echo 'openjdk version "11.0.21" 2023-10-17' >&2""", "is Java 11, too old"),
        ("""echo 'openjdk version "17.0.9" 2023-10-17' >&2""", "no Maven found"),
        ("""echo 'openjdk version "25-ea" 2025-09-16' >&2""", "no Maven found"),
    ],
)
def test_java_that_does_not_do(fake: Fake, script: str, reason: str) -> None:
    fake("java", script)

    assert reason in str(java.why_not())


def test_java_of_java_home_comes_first(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake("java", JAVA)
    (tmp_path / "old/bin").mkdir(parents=True)
    fake("old", """echo 'java version "1.8.0"' >&2""").rename(tmp_path / "old/bin/java")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))

    assert f"{tmp_path}/old/bin/java is Java 8, too old" in str(java.why_not())


def test_cached_jars_need_no_maven(fake: Fake) -> None:
    fake("java", JAVA)
    jars.cache().mkdir(parents=True)

    assert java.why_not() is None


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ('[ "$1" != compose ]', "no Compose plugin"),
        ('[ "$1" != info ]', "engine does not answer"),
        ("exit 0", "None"),
    ],
)
def test_docker_that_does_not_do(fake: Fake, script: str, reason: str) -> None:
    fake("docker", script)

    assert reason in str(compose.why_not())


def test_choice_tells_why_the_better_ones_are_out(fake: Fake) -> None:
    fake("docker", "exit 0")
    said: list[str] = []

    assert launch.choose(said.append) is compose
    assert "Docker Compose" in said[0]
    assert "Java with Maven: no Java found" in said[0]


# The jars


def test_failed_download_shows_the_last_lines_of_maven(fake: Fake, settings: Settings) -> None:
    fake("java", JAVA)
    fake("mvn", "echo '[ERROR] Could not transfer artifact: Unknown host'; exit 1")

    with pytest.raises(kafka.KafkaUnavailable, match=r"(?s)Unknown host.*Check the network"):
        kafka.up(settings)
    assert not jars.cache().exists()


def test_interrupted_download_is_done_again(fake: Fake) -> None:
    maven = fake("mvn", MAVEN)
    part = jars.cache().with_name(f"{jars.cache().name}.part")
    part.mkdir(parents=True)
    (part / "half.jar").touch()

    assert [jar.name for jar in jars.jars(print).iterdir()] == ["kafka.jar"]
    assert maven.with_name("mvn.runs").read_text() == "run\n"


def test_two_processes_download_once(fake: Fake) -> None:
    maven = fake("mvn", MAVEN)
    # Locks are held by open files, so threads meet them as processes do.
    threads = [threading.Thread(target=jars.jars, args=(print,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert maven.with_name("mvn.runs").read_text() == "run\n"
    assert [jar.name for jar in jars.cache().iterdir()] == ["kafka.jar"]


def test_relative_cache_folder_is_ignored(monkeypatch: pytest.MonkeyPatch, fake: Fake) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "here")

    assert jars.cache() == Path.home() / ".cache/millstream" / f"kafka-{jars.VERSION}"


def test_pom_asks_for_the_version_that_the_code_names() -> None:
    pom = Path(jars.__file__).with_name("pom.xml").read_text()

    assert re.findall(r"kafka_2\.13</artifactId>\s*<version>(.*)</version>", pom) == [jars.VERSION]


# Starting


@pytest.fixture
def with_java(fake: Fake) -> WithJava:
    """Puts a Java there whose broker is a shell command."""
    jars.cache().mkdir(parents=True)

    def put(broker: str) -> None:
        fake("java", JAVA.replace("{broker}", broker))

    return put


def test_broker_that_dies_shows_its_last_words(with_java: WithJava, settings: Settings) -> None:
    with_java("echo FATAL no space left on device; exit 1")

    with pytest.raises(kafka.KafkaUnavailable, match=r"(?s)ended while it started.*FATAL no space left"):
        kafka.up(settings)
    assert kafka.status(settings) is None


def test_options_of_the_jvm_may_be_given(
    with_java: WithJava, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_java('echo "$@"; exit 1')
    monkeypatch.setenv("KAFKA_HEAP_OPTS", "-Xmx1G -Xms1G")

    with pytest.raises(kafka.KafkaUnavailable, match=r"-Xmx1G -Xms1G -XX:\+UseSerialGC"):
        kafka.up(settings)


def test_broker_that_does_not_answer_is_stopped(
    with_java: WithJava, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_java("echo started; exec /bin/sleep 60")
    monkeypatch.setattr(launch, "READY_SECONDS", 0.3)

    with pytest.raises(kafka.KafkaUnavailable, match=r"(?s)does not answer.*started"):
        kafka.up(settings)
    last = state.load(state.home_of(settings))
    assert last is not None
    assert not process.lives(last.pid, last.born)


def test_given_port_that_is_taken(with_java: WithJava, settings: Settings) -> None:
    with_java("exit 1")
    with socket.create_server((net.HOST, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(kafka.KafkaUnavailable, match=f"port {port} .* is taken: give another --port"):
            kafka.up(settings, port=port)


def test_full_disk(with_java: WithJava, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with_java("exit 1")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=300 << 20))

    with pytest.raises(kafka.KafkaUnavailable, match=r"only 300 MiB are free .* Kafka needs 1024"):
        kafka.up(settings)


def test_state_folder_that_cannot_be_made(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    below_a_file = settings.model_copy(update={"state_dir": tmp_path / "file/state"})

    with pytest.raises(kafka.KafkaUnavailable, match=r"cannot write to .* set MILLSTREAM_STATE_DIR"):
        kafka.up(below_a_file)
    assert kafka.status(below_a_file) is None


# Docker Compose, with a stand-in that starts a server in its place

DOCKER = """\
#!{python}
import os, pathlib, signal, subprocess, sys
pid = pathlib.Path(__file__).with_name("kafka.pid")
with open(__file__ + ".runs", "a") as runs:
    print(*(word for word in sys.argv[1:] if "/" not in word), file=runs)
if "up" in sys.argv:
    server = [sys.executable, __file__ + ".server", os.environ["MILLSTREAM_KAFKA_PORT"]]
    pid.write_text(str(subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid))
elif "ps" in sys.argv and pid.exists():
    print("container")
elif "stop" in sys.argv:
    os.kill(int(pid.read_text()), signal.SIGTERM)
    pid.unlink()
"""
SERVER = """\
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        connection, _ = server.accept()
        with connection:
            connection.recv(100)
            connection.sendall(bytes([0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1]))
"""


def test_compose_from_up_to_wipe(fake: Fake, settings: Settings) -> None:
    docker = fake("docker", "")
    docker.write_text(DOCKER.format(python=sys.executable))
    docker.with_name("docker.server").write_text(SERVER)
    running = kafka.up(settings, echo=lambda _: None)
    try:
        assert running.started
        assert (running.kind, running.pid) == ("compose", None)
        assert kafka.bootstrap(settings) == running.bootstrap
        with pytest.raises(kafka.KafkaUnavailable, match="stop it first"):
            kafka.wipe(settings)
    finally:
        assert kafka.down(settings, echo=lambda _: None)
    assert kafka.status(settings) is None
    kafka.wipe(settings)

    runs = docker.with_name("docker.runs").read_text().splitlines()
    looks = ["compose version", "info"]
    assert [
        *looks,
        "compose -f docker-compose.yml up -d kafka",
        "compose -f docker-compose.yml stop kafka",
        *looks,
        "compose -f docker-compose.yml down --volumes",
    ] == [run for run in runs if " ps " not in run]


def test_compose_that_fails_shows_its_last_lines(fake: Fake, settings: Settings) -> None:
    fake("docker", 'case "$*" in *" up "*) echo "manifest unknown"; exit 1 ;; esac')

    with pytest.raises(
        kafka.KafkaUnavailable, match=r"(?s)`docker compose up -d kafka` failed.*manifest unknown"
    ):
        kafka.up(settings, echo=lambda _: None)
