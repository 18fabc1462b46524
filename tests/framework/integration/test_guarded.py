"""A worker that requires tokens, on real Kafka."""

import os
import time

import pytest

from tests.framework.integration.test_pipeline import event
from tests.framework.service import Service, Worker

pytestmark = pytest.mark.kafka


def ask(worker: Worker, token: str | None, path: str = "/tables/page-views//a") -> int:
    worker.headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return worker.get(path).status_code


def test_a_worker_that_requires_tokens(service: Service) -> None:
    file = service.folder / "tokens"
    tokens = {}
    for name, scope in (("reader", "read"), ("operator", "operate"), ("gone", "read")):
        made = service.command("token", name, "--scope", scope)
        tokens[name] = made.stderr.split()[-1]
        with file.open("a") as lines:
            lines.write(made.stdout)
    worker = service.worker(MILLSTREAM_TOKENS=str(file), MILLSTREAM_RATE_LIMIT="1000")
    worker.headers = {"Authorization": f"Bearer {tokens['reader']}"}
    worker.wait_ready()
    service.send("visits.raw", [event(event_id=str(number), page="/a") for number in range(10)])
    service.wait_done()

    assert worker.get("/tables/page-views//a").json()["total"] == {"views": 10}
    assert ask(worker, tokens["gone"]) == 200
    for path in ("/tables", "/tables/page-views//a", "/health", "/none"):
        assert ask(worker, None, path) == 401
        assert ask(worker, tokens["reader"][:-1], path) == 401
    assert ask(worker, None, "/") == ask(worker, None, "/live") == 200
    assert ask(worker, None, "/ready") in (200, 503)
    assert ask(worker, tokens["operator"]) == 403
    refused = worker.get("/tables")
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["x-content-type-options"] == "nosniff"
    assert refused.headers["server"] == "millstream"

    changed = file.with_name("changed")
    lines = file.read_text().splitlines(keepends=True)
    changed.write_text("".join(line for line in lines if not line.startswith("gone")))
    changed.replace(file)
    assert (ask(worker, tokens["gone"]), ask(worker, tokens["reader"])) == (401, 200)
    file.unlink()
    assert [ask(worker, tokens["reader"]) for _ in range(3)] == [503] * 3
    assert worker.stop() == 0
    log = worker.log.read_text()
    assert log.count("(MILLSTREAM_TOKENS) cannot be read") == 1
    assert "Traceback" not in log
    assert not [name for name, token in tokens.items() if token in log]


def test_workers_pass_tokens_on(service: Service) -> None:
    made = service.command("token", "reader")
    file = service.folder / "tokens"
    file.write_text(made.stdout)
    headers = {"Authorization": f"Bearer {made.stderr.split()[-1]}"}
    workers = [service.worker(name, MILLSTREAM_TOKENS=str(file)) for name in ("0", "1")]
    for worker in workers:
        worker.headers = headers
        worker.wait_ready()
    service.send(
        "visits.raw",
        [event(event_id=str(number), user_id=f"u{number}", page="/a") for number in range(100)],
    )
    service.wait_done()
    for worker in workers:
        deadline = time.monotonic() + 60
        while (answer := worker.get("/tables/page-views//a")).status_code == 503:  # partitions move still
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.2)
        assert answer.json()["total"] == {"views": 100}
        assert len({one["worker"] for one in answer.json()["partitions"]}) == 2


def test_only_workers_need_the_file(service: Service) -> None:
    missing = str(service.folder / "none")
    service.command(
        "topics", MILLSTREAM_TOKENS=missing, MILLSTREAM_TLS_CERT=missing, MILLSTREAM_TLS_KEY=missing
    )
    worker = service.worker(MILLSTREAM_TOKENS=missing)
    assert worker.process.wait(60) == 1
    said = f"millstream: the tokens in {missing} (MILLSTREAM_TOKENS) cannot be read ({os.strerror(2)})"
    assert said in worker.log.read_text()
    assert "Traceback" not in worker.log.read_text()
