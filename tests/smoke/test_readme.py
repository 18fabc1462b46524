"""README's first command in a clean environment, then every `curl` of README."""

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.framework.service import free_port

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.timeout(400),
    pytest.mark.skipif(shutil.which("java") is None, reason="no Java on the PATH: README asks for Java 17"),
]

ROOT = Path(__file__).resolve().parents[2]
HOST = "localhost:6066"
START_SECONDS = 240  # the first time the environment is made, and Kafka is downloaded
ANSWER_SECONDS = 45  # for all lines: some keys are there only after some made-up events
STOP_SECONDS = 60


def curls() -> dict[str, tuple[str, bool]]:
    """Return README's lines with `curl`: what each asks for, and whether that is a stream."""
    found = {}
    for line in (ROOT / "README.md").read_text().splitlines():
        if line.startswith("curl "):
            # As a shell reads it: an & without quotes would be a word of its own.
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            _, *options, url = lexer
            assert options in ([], ["-N"]), f"the test does not know what this asks: {line}"
            assert url.startswith(f"{HOST}/"), line
            found[line] = (url.removeprefix(HOST), bool(options))
    return found


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Port of the service that `make run` has started; afterwards nothing of it runs."""
    state, number = tmp_path / "state", free_port()
    # No other variable of ours: README names none.
    env = {name: os.environ[name] for name in ("PATH", "HOME")}
    env |= {"MILLSTREAM_STATE_DIR": str(state), "MILLSTREAM_WEB_PORT": str(number)}
    log = tmp_path / "run.log"
    with log.open("wb") as out:
        run = subprocess.Popen(
            ["make", "run"], cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while "Ctrl-C stops everything" not in log.read_text():
            assert run.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield number
        assert run.poll() is None, log.read_text()
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGINT)  # as Ctrl-C in a terminal
        with suppress(subprocess.TimeoutExpired):
            run.wait(STOP_SECONDS)
        left = kill_all(state)
        run.wait()
    assert "Stopped;" in log.read_text()
    assert left == []


def kill_all(state: Path) -> list[str]:
    """End the processes that have the folder in their environment; return their command lines."""
    left = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it is not ours, or has ended meanwhile
            if str(state).encode() in environ.read_bytes():
                left.append(environ.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode())
                os.kill(int(environ.parent.name), signal.SIGKILL)
    return left


def refusal(client: httpx.Client, path: str, stream: bool) -> str:
    """Ask; return what is wrong with the answer, empty if nothing is."""
    try:
        if not stream:
            answer = client.get(path)
            return "" if answer.status_code == 200 else f"{answer.status_code} {answer.text}"
        with client.stream("GET", path) as answer:
            if answer.status_code != 200:
                return f"{answer.status_code} {answer.read().decode()}"
            lines = answer.iter_lines()
            name = next((line for line in lines if line.startswith("event: ")), "no event")
            data = next((line for line in lines if line.startswith("data: ")), "")
            # It is null before the key is in the table.
            return "" if name == "event: answer" and data != "data: null" else f"{name} {data}"
    except httpx.HTTPError as exc:
        return repr(exc)


def test_every_curl_of_readme_is_answered(port: int) -> None:
    asked = curls()
    assert len(asked) >= 12
    wrong = dict.fromkeys(asked, "not asked")
    deadline = time.monotonic() + ANSWER_SECONDS
    with httpx.Client(base_url=f"http://localhost:{port}", timeout=10, trust_env=False) as client:
        while True:
            wrong = {line: why for line in wrong if (why := refusal(client, *asked[line]))}
            if not wrong or time.monotonic() > deadline:
                break
            time.sleep(0.5)
    assert not wrong, "".join(f"\n{line}\n  -> {why}" for line, why in wrong.items())
