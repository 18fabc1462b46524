"""Workers of the main job that die, lose their disk, and stand still, in the middle of their work."""

import random
import time

import pytest

from tests.chaos.activity import Activity
from tests.framework.chaos.trial import Trial
from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
long = pytest.mark.long


@pytest.mark.parametrize(
    ("seed", "faults"),
    [
        (1, ["kill", "freeze", "lose"]),
        *(pytest.param(seed, ["kill", "lose", "freeze"] * 3, marks=long) for seed in range(2, 5)),
    ],
)
def test_kill_lose_and_freeze(service: Service, seed: int, faults: list[str]) -> None:
    with Trial("main job", service, Activity(rate=3000, seed=seed)).feed() as trial:
        trial.hurt(faults)
        trial.finish()


@long
@pytest.mark.parametrize("seed", [1, 2])
def test_r17_the_state_directory_is_deleted_between_crashes(service: Service, seed: int) -> None:
    rand = random.Random(seed)
    with Trial("R17 disks lost", service, Activity(seed=seed)).feed() as trial:
        for _ in range(4):
            time.sleep(rand.uniform(1, 3))
            trial.busy()
            trial.note("lose")
            names = [worker.name for worker in trial.workers]
            for worker in trial.workers:
                worker.kill()
            trial.workers.clear()
            for name in names:
                trial.lose(name)
                trial.add(name)
        trial.finish()
