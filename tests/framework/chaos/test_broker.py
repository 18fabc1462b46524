"""A Kafka that stands still, ends, dies, and is reached badly."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from millstream.kafka.local import net
from tests.framework.chaos.broker import Broker, through
from tests.framework.chaos.closed_form import ClosedForm
from tests.framework.chaos.proxy import Proxy
from tests.framework.chaos.trial import Trial
from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.long, pytest.mark.timeout(600)]

PAUSE = 10
# That go through the proxy in and after a fault, or it hit nothing.
WORTH_BYTES = 100_000


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as started:
        yield started


@contextmanager
def service_of(broker: Broker, folder: Path) -> Iterator[Service]:
    with Service(broker.bootstrap, folder, app=ClosedForm.app) as service:
        yield service


def strike(trial: Trial, broker: Broker, kind: str) -> None:
    trial.busy()
    trial.note(f"broker-{kind}", moved=False)
    if kind == "pause":
        broker.pause()
        time.sleep(PAUSE)
        broker.resume()
        return
    broker.terminate() if kind == "terminate" else broker.kill()
    time.sleep(2)
    broker.start()


def test_r7_broker_stopped_terminated_and_killed(broker: Broker, tmp_path: Path) -> None:
    load = ClosedForm(rate=1200)
    with service_of(broker, tmp_path) as service, Trial("R7 broker", service, load).feed() as trial:
        for kind in ("pause", "terminate", "kill", "pause", "kill"):
            strike(trial, broker, kind)
            time.sleep(4)
        trial.finish()


def test_r8_workers_start_and_end_while_the_broker_is_down(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("batches", "send"):  # the feed must outlast the broker
        monkeypatch.setattr(f"millstream.sources.{module}.CONFIRM_SECONDS", 120.0)
    load = ClosedForm(rate=1500)
    with service_of(broker, tmp_path) as service:
        broker.kill()
        workers = [service.worker(f"early{number}") for number in range(2)]
        time.sleep(4)
        for worker in workers:
            # It waits, or ends with a sentence that says why; then an orchestrator starts it again.
            assert worker.process.poll() is None or "Kafka" in worker.log.read_text()[-2000:]
        broker.start()
        for worker in workers:
            if worker.process.poll() is not None:
                service.workers.remove(worker)
                service.worker(worker.name)
        with Trial("R8 broker down", service, load, workers=1) as trial:
            trial.report.faults["start-without-broker"] = len(workers)
            trial.feed()
            trial.busy()
            trial.note("broker-kill", moved=False)
            broker.kill()
            leaving = trial.workers[0]
            began = time.monotonic()
            leaving.stop(35)
            trial.report.more["left_in"] = round(time.monotonic() - began, 1)
            trial.report.faults["leave-without-broker"] += 1
            trial.workers.remove(leaving)
            broker.start()
            trial.finish()


def test_r9_a_bad_network(tmp_path: Path) -> None:
    port, listener = net.choose_port(None, None), net.choose_port(None, None)
    load = ClosedForm(rate=600)
    with (
        Broker(tmp_path / "broker", through(port, listener)) as broker,
        Proxy(port, listener) as proxy,
        service_of(broker, tmp_path) as service,
    ):
        service.env["KAFKA_BOOTSTRAP_SERVERS"] = f"{net.HOST}:{port}"
        with Trial("R9 network", service, load).feed() as trial:
            began = proxy.passed
            for kind in ("delay", "narrow", "hole", "reset", "reset", "reset"):
                trial.busy()
                trial.note(kind, moved=False)
                passed = proxy.passed
                if kind == "delay":
                    proxy.delay = 0.05
                    time.sleep(10)
                    proxy.delay = 0
                elif kind == "narrow":
                    proxy.rate = 125_000  # 1 Mbit/s
                    time.sleep(10)
                    proxy.rate = None
                elif kind == "hole":
                    proxy.hole = True
                    time.sleep(5)
                    proxy.hole = False
                else:
                    proxy.reset()
                wanted = passed + WORTH_BYTES
                trial.wait_until(partial(proxy.has_passed, wanted), 60, f"work goes on: {kind}")
            trial.report.more |= {"bytes_through_proxy": proxy.passed - began, "reset": proxy.cut}
            assert proxy.cut > 3
            trial.finish()
