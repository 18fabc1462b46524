"""A worker that stands still for longer than its group waits, and then goes on where it was."""

import shutil
import time
from pathlib import Path

import pytest

from tests.framework.chaos.broker import QUICK_CLEANER, Broker
from tests.framework.chaos.closed_form import ClosedForm
from tests.framework.chaos.kafka import offsets, read
from tests.framework.chaos.state_log import topic_of
from tests.framework.chaos.trial import SESSION, Trial
from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.long, pytest.mark.timeout(600)]

ROUNDS = 3


def compacted(service: Service, topic: str) -> int:
    """Return how many records of a topic are gone from its middle."""
    starts, ends = offsets(service.kafka, topic)
    return sum(ends.values()) - sum(starts.values()) - len(read(service.kafka, topic))


def test_r19_late_writes_of_a_zombie_change_nothing(tmp_path: Path) -> None:
    with (
        Broker(tmp_path / "broker", QUICK_CLEANER) as broker,
        Service(broker.bootstrap, tmp_path, app="tests.framework.apps.compacting") as service,
        Trial("R19 zombies", service, ClosedForm(rate=3000), compacted=True).feed() as trial,
    ):
        log = topic_of(service, ClosedForm.source)
        removed = []
        for _ in range(ROUNDS):
            time.sleep(1)
            zombie = trial.freeze(seconds=SESSION + 4)
            # It rejoins, or ends and is started again.
            trial.wait_until(
                lambda z=zombie: z not in trial.workers or z.get("/health").is_success, 60, "back"
            )
            trial.kill()
            time.sleep(3)  # the cleaner's turn
            removed.append(compacted(service, log))
        assert removed[0] > 0, "Kafka has compacted nothing: this run says nothing"
        trial.report.more["compacted"] = removed
        trial.finish()
        restore_elsewhere(trial)


def restore_elsewhere(trial: Trial) -> None:
    """Have one worker with an empty disk read all of the log, and judge again."""
    for worker in trial.workers:
        worker.stop()
    trial.workers.clear()
    shutil.rmtree(trial.service.folder / "state" / "data")
    time.sleep(3)
    trial.add("elsewhere")
    trial.report.name, trial.strikes = "R19 restored elsewhere", []
    assert trial.judge().exact


def test_r19_zombies_freeze_again_and_again(tmp_path: Path) -> None:
    """Two workers, in turn: each zombie awakes while the other one, its successor, stands still."""
    with (
        Broker(tmp_path / "broker", QUICK_CLEANER) as broker,
        Service(broker.bootstrap, tmp_path, app="tests.framework.apps.compacting") as service,
        Trial("R19 in turn", service, ClosedForm(rate=3000), workers=2, compacted=True).feed() as trial,
    ):
        for _ in range(4):
            for worker in list(trial.workers):
                if worker in trial.workers:
                    trial.freeze(worker, seconds=SESSION + 1)
        trial.finish()
        restore_elsewhere(trial)
