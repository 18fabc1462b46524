"""Workers that come, go, and are replaced."""

import time

import pytest

from tests.framework.chaos.closed_form import ClosedForm
from tests.framework.chaos.kafka import group_of
from tests.framework.chaos.trial import Trial
from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.long, pytest.mark.timeout(600)]

ALIVE = 3


def test_r3_a_worker_more_every_five_seconds_and_the_oldest_less(closed: Service) -> None:
    load = ClosedForm(rate=1500)
    with Trial("R3 add and remove", closed, load, workers=1).feed() as trial:
        for _ in range(10):
            began = time.monotonic()
            if len(trial.workers) == ALIVE:
                trial.stop(trial.workers[0])
            trial.add()
            trial.report.faults["add"] += 1
            time.sleep(max(0, 5 - (time.monotonic() - began)))
        trial.finish()
        assert trial.report.faults["stop"] > 2, "most of the workers that went had no work"


def test_r13_a_rolling_restart_moves_nothing(closed: Service) -> None:
    load = ClosedForm(rate=1500)

    def generations() -> list[int]:
        return group_of(closed.kafka, closed.env["MILLSTREAM_APP_ID"]).generations

    with Trial("R13 rolling restart", closed, load, MILLSTREAM_SESSION_TIMEOUT="PT80S").feed() as trial:
        before = generations()
        for worker in list(trial.workers):
            held = trial.held(worker)
            trial.stop(worker)
            again = trial.add(worker.name).wait_ready()
            assert trial.held(again).keys() == held.keys()
        assert generations() == before
        trial.finish()


def test_r16_three_workers_then_five_then_one(closed: Service) -> None:
    load = ClosedForm(rate=2000)
    with Trial("R16 3 -> 5 -> 1", closed, load).feed() as trial:
        for _ in range(2):
            trial.busy()
            trial.add().wait_ready()
        trial.report.faults["add"] = 2
        # Five workers, four partitions: one has none, and is well.
        trial.wait_until(
            lambda: sorted(len(trial.held(worker)) for worker in trial.workers) == [0, 1, 1, 1, 1],
            60,
            "five workers share four partitions",
        )
        assert {worker.get("/health").status_code for worker in trial.workers} == {200}
        while len(trial.workers) > 1:
            trial.stop(trial.workers[0])
        trial.finish()
