"""docker-compose.yml, the Dockerfile and what must agree with them elsewhere.

Docker's own check of the file runs where its Compose plugin is; it needs no engine.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from millstream.kafka.local.jars import VERSION
from millstream.kafka.local.java import PROPERTIES
from millstream.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def _instructions() -> Iterator[tuple[str, str]]:
    lines = (line for line in DOCKERFILE.splitlines() if not line.startswith("#"))
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            yield name, rest.strip()


def _last_stage() -> list[tuple[str, str]]:
    instructions = list(_instructions())
    start = max(index for index, (name, _) in enumerate(instructions) if name == "FROM")
    return instructions[start:]


def test_docker_accepts_the_file() -> None:
    if shutil.which("docker") is None:
        pytest.skip("no docker")
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("docker has no Compose plugin")
    command = ["docker", "compose", "-f", str(ROOT / "docker-compose.yml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_kafka_is_the_version_of_the_jars(compose: Any) -> None:
    assert f"apache/kafka:{VERSION}" == compose["services"]["kafka"]["image"]


def test_kafka_has_the_settings_of_the_java_one(compose: Any) -> None:
    java = dict(line.split("=", 1) for line in PROPERTIES.splitlines() if "=" in line)
    of_the_machine = {
        "listeners",
        "log.dirs",
        "controller.quorum.bootstrap.servers",
        "inter.broker.listener.name",
    }
    wanted = {
        f"KAFKA_{name.upper().replace('.', '_')}": value
        for name, value in java.items()
        if name not in of_the_machine
    }
    env = {name: str(value) for name, value in compose["services"]["kafka"]["environment"].items()}

    assert wanted == {name: env.get(name) for name in wanted}


def test_every_kafka_listener_is_mapped_and_the_clients_ones_are_advertised(compose: Any) -> None:
    env = compose["services"]["kafka"]["environment"]
    ports = dict(re.findall(r"(\w+)://[^:]*:(\d+)", env["KAFKA_LISTENERS"]))

    assert set(ports) == set(re.findall(r"(\w+):PLAINTEXT", env["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"]))
    assert env["KAFKA_ADVERTISED_LISTENERS"] == (
        f"INSIDE://kafka:{ports['INSIDE']},OUTSIDE://127.0.0.1:${{MILLSTREAM_KAFKA_PORT:-9092}}"
    )
    assert compose["services"]["kafka"]["ports"] == [
        f"127.0.0.1:${{MILLSTREAM_KAFKA_PORT:-9092}}:{ports['OUTSIDE']}"
    ]
    assert (
        compose["services"]["worker"]["environment"]["KAFKA_BOOTSTRAP_SERVERS"] == f"kafka:{ports['INSIDE']}"
    )
    assert f"localhost:{ports['INSIDE']}" in compose["services"]["kafka"]["healthcheck"]["test"][1]


def test_kafka_keeps_its_data_in_a_named_volume(compose: Any) -> None:
    kafka = compose["services"]["kafka"]

    assert [f"kafka:{kafka['environment']['KAFKA_LOG_DIRS']}"] == kafka["volumes"]
    assert "kafka" in compose["volumes"]


def test_workers_wait_for_a_healthy_kafka(compose: Any) -> None:
    assert compose["services"]["worker"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}


def test_workers_can_be_scaled(compose: Any) -> None:
    worker = compose["services"]["worker"]
    ports = re.fullmatch(r"127\.0\.0\.1:(\d+)-(\d+):(\d+)", *worker["ports"])
    assert ports is not None
    first, last, inside = map(int, ports.groups())

    assert "container_name" not in worker
    assert last - first >= 9
    assert inside == Settings.model_fields["web_port"].default
    # An anonymous volume: two workers on one data directory would be refused.
    assert worker["volumes"] == ["/var/lib/millstream"]


def test_every_variable_is_one_of_the_settings(compose: Any) -> None:
    known = {"KAFKA_BOOTSTRAP_SERVERS"} | {f"MILLSTREAM_{name.upper()}" for name in Settings.model_fields}
    in_image = set(re.findall(r"MILLSTREAM_[A-Z_]+", DOCKERFILE))

    assert in_image | set(compose["services"]["worker"]["environment"]) <= known


def test_image_runs_a_worker_without_root() -> None:
    stage = _last_stage()

    assert ("USER", "10001") in stage
    assert ("STOPSIGNAL", "SIGTERM") in stage
    assert ("VOLUME", "/var/lib/millstream") in stage
    assert stage[-1] == ("CMD", '["faust", "-A", "app", "worker", "-l", "info"]')


def test_image_owns_its_volume_before_it_is_declared() -> None:
    names = [f"{name} {rest}" for name, rest in _last_stage()]
    (owned,) = (
        i
        for i, line in enumerate(names)
        if "install -d -o millstream -g millstream /var/lib/millstream" in line
    )

    assert owned < names.index("VOLUME /var/lib/millstream")


def test_image_installs_only_what_is_pinned() -> None:
    installs = [rest for name, rest in _instructions() if name == "RUN" and "pip install" in rest]

    assert installs == [
        "/venv/bin/pip install --require-hashes -r requirements.lock",
        "/venv/bin/pip install --no-deps .",
    ]


def test_health_check_of_the_image_asks_the_worker() -> None:
    (check,) = (rest for name, rest in _last_stage() if name == "HEALTHCHECK")

    # The one view of the two without a token that is 200 while a worker restores its tables.
    port = f"e.get('MILLSTREAM_WEB_PORT', '{Settings.model_fields['web_port'].default}')"
    assert f"'://127.0.0.1:' + {port} + '/live'" in check
    _, _, command = check.partition("CMD ")
    compile(json.loads(command)[2], "HEALTHCHECK", "exec")


def test_everything_that_the_image_copies_is_let_through() -> None:
    copied = {
        source.removeprefix("./")
        for name, rest in _instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    packages = re.search(r"include = \[(.+)\]", (ROOT / "pyproject.toml").read_text())

    assert copied == {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert packages is not None
    assert set(re.findall(r"(\w+)\*", packages[1])) <= copied
