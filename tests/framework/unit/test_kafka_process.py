"""The local Kafka between two commands: state file, processes and ports."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from millstream.kafka import local as kafka
from millstream.kafka.local import net, process, state
from millstream.settings import Settings

Sleeper = Callable[[str], tuple[int, str]]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    return Settings(state_dir=tmp_path / "state")


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Sleeper]:
    """Starts programs that outlive their time; ends those that are left."""
    started: list[tuple[int, str]] = []

    def start(script: str) -> tuple[int, str]:
        command = [sys.executable, "-c", script]
        pid = process.spawn(command, cwd=tmp_path, log=tmp_path / "sleeper.log", env=dict(os.environ))
        born = process.born(pid)
        assert born is not None
        started.append((pid, born))
        return pid, born

    yield start
    for pid, born in started:
        process.stop(pid, born, grace=0)


def _save(settings: Settings, pid: int, born: str) -> None:
    home = state.home_of(settings)
    home.mkdir(parents=True)
    state.save(home, state.State("java", "127.0.0.1:21000", "4.1.0", pid, born))


@pytest.mark.parametrize(
    "content", ["", "{", '{"kind": "java"}', '{"kind": "?", "bootstrap": "a:1", "version": "1"}']
)
def test_broken_state_file_means_not_running(settings: Settings, content: str) -> None:
    state.home_of(settings).mkdir(parents=True)
    (state.home_of(settings) / "state.json").write_text(content)

    assert kafka.status(settings) is None
    assert kafka.down(settings, echo=lambda _: None) is False


def test_process_with_the_pid_of_a_dead_broker_is_not_it(settings: Settings) -> None:
    _save(settings, pid=os.getpid(), born="before")

    assert kafka.status(settings) is None
    assert kafka.down(settings, echo=lambda _: None) is False


def test_running_broker_is_found_stopped_and_only_then_wiped(settings: Settings, sleeper: Sleeper) -> None:
    pid, born = sleeper("import time; time.sleep(60)")
    _save(settings, pid=pid, born=born)
    said: list[str] = []
    running = kafka.Running(kind="java", bootstrap="127.0.0.1:21000", started=False, pid=pid)

    assert running == kafka.status(settings) == kafka.up(settings, echo=said.append)
    assert kafka.bootstrap(settings) == "127.0.0.1:21000"
    with pytest.raises(kafka.KafkaUnavailable, match="stop it first"):
        kafka.wipe(settings)
    assert kafka.down(settings, echo=said.append) is True
    assert kafka.status(settings) is None
    kafka.wipe(settings)
    assert not state.home_of(settings).exists()
    assert "already runs" in said[0]
    assert "its data is kept" in said[1]


def test_outside_address_does_not_hide_a_local_broker(settings: Settings, sleeper: Sleeper) -> None:
    pid, born = sleeper("import time; time.sleep(60)")
    _save(settings, pid=pid, born=born)
    said: list[str] = []

    assert (
        kafka.down(settings.model_copy(update={"kafka_bootstrap_servers": "a:1"}), echo=said.append) is False
    )
    assert process.lives(pid, born)
    assert "A local one runs at 127.0.0.1:21000" in said[1]


def test_process_that_ignores_sigterm_is_killed(sleeper: Sleeper, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ignore = "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    pid, born = sleeper(f"{ignore}; pathlib.Path({str(ready)!r}).touch(); time.sleep(60)")
    while not ready.exists():
        time.sleep(0.01)

    assert process.stop(pid, born, grace=0.3) is False
    assert not process.lives(pid, born)
    assert process.stop(pid, born) is True


def test_zombie_does_not_live() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        born = process.born(child.pid)
        assert process.lives(child.pid, born)
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        assert not process.lives(child.pid, born)


def test_spawned_process_is_detached_and_its_log_rotates(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "import os; print(os.getsid(0), os.getppid())"
    for _ in range(2):
        pid = process.spawn([sys.executable, "-c", script], cwd=tmp_path, log=log, env=dict(os.environ))
        while process.born(pid) is not None:
            time.sleep(0.01)
    session, parent = map(int, log.read_text().split())

    assert session != os.getsid(0)
    assert parent != os.getpid()
    assert log.with_name("log.1").exists()


def test_former_port_is_taken_again_unless_it_is_busy() -> None:
    with socket.create_server((net.HOST, 0)) as server:
        port = server.getsockname()[1]
        assert net.choose_port(None, port) in net.PORTS
    assert net.choose_port(None, port) == port
    assert net.choose_port(port, None) == port


def test_silent_server_is_no_kafka() -> None:
    with socket.create_server((net.HOST, 0)) as server:
        port = server.getsockname()[1]
        assert not net.answers(port, timeout=0.1)
    assert not net.answers(port, timeout=0.1)
