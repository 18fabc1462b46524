"""Workers that die, lose their disk, and stand still, in the middle of their work."""

import random
import time
from itertools import islice

import pytest

from tests.framework.chaos.closed_form import ClosedForm, counts_up_to
from tests.framework.chaos.kafka import offsets
from tests.framework.chaos.state_log import topic_of
from tests.framework.chaos.tables import Tables
from tests.framework.chaos.trial import SESSION, Trial
from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
long = pytest.mark.long


def test_r1_no_fault(closed: Service) -> None:
    with Trial("R1 no fault", closed, ClosedForm(width=1000, rate=5000)).feed() as trial:
        trial.finish()


@pytest.mark.parametrize(
    ("seed", "faults"),
    [
        (1, ["kill", "freeze", "lose"]),
        *(pytest.param(seed, ["kill", "lose", "freeze"] * 3, marks=long) for seed in range(2, 5)),
    ],
)
def test_kill_lose_and_freeze(closed: Service, seed: int, faults: list[str]) -> None:
    with Trial("kill, lose, freeze", closed, ClosedForm(rate=3000, seed=seed)).feed() as trial:
        trial.hurt(faults)
        trial.finish()


@long
def test_r2_each_of_three_workers_killed_in_turn(closed: Service) -> None:
    with Trial("R2 each in turn", closed, ClosedForm(rate=3000)).feed() as trial:
        for worker in list(trial.workers):
            time.sleep(1)
            trial.kill(worker, restart=False)
            time.sleep(SESSION + 2)  # the others take over
            trial.add(worker.name).wait_ready()
        trial.finish()


@long
def test_r4_the_running_value_of_20_000_keys(closed: Service) -> None:
    with Trial("R4 20,000 keys", closed, ClosedForm(keys=20_000, width=12, rate=5000)).feed() as trial:
        for turn in range(6):
            time.sleep(3)
            trial.kill(trial.workers[0], lose=turn % 3 == 2)
        trial.finish()


@long
def test_r5_twenty_kills_in_a_row(closed: Service) -> None:
    with Trial("R5 20 kills", closed, ClosedForm()).feed() as trial:
        trial.busy()
        log = topic_of(closed, ClosedForm.source)
        before = offsets(closed.kafka, log)[1]
        for _ in range(20):
            time.sleep(trial.rand.uniform(0.3, 1))
            # Not `trial.kill`: a worker that is still starting is hit, too.
            worker = trial.rand.choice(trial.workers)
            assert not trial.fed or closed.lag(trial.load.source), "the kills missed the work"
            trial.report.faults["kill"] += 1
            worker.kill()
            trial.workers.remove(worker)
            trial.add(worker.name)
        after = offsets(closed.kafka, log)[1]
        trial.report.more["log_moved"] = sum(after.values()) - sum(before.values())
        assert after != before, "nothing was at work between the kills"
        for worker in list(trial.workers):
            worker.wait_ready()
        for worker in list(trial.workers):
            trial.stop(worker)
        trial.add().wait_ready()
        trial.finish()


@long
def test_r6_what_the_tables_show_is_never_wrong_and_never_goes_back(closed: Service) -> None:
    with Trial("R6 invariants", closed, ClosedForm(width=5000, rate=2500)).feed() as trial:
        looks: list[tuple[dict[int, int], dict[str, int]]] = []
        block = islice(ClosedForm(width=5000).records(), 10_000)
        keys = {record.key.decode() for record in block if record.key}
        for _ in range(5):
            time.sleep(trial.rand.uniform(0.5, 4))
            trial.kill(lose=trial.rand.random() < 0.3)
            with Tables(closed, ClosedForm.source) as tables:
                shown = tables.steadily(
                    lambda: {
                        key: sum(a["total"]["count"] for a in tables.all(f"/tables/totals/{key}"))
                        for key in keys
                    }
                )
            looks.append((offsets(closed.kafka, closed.topic(trial.load.source))[1], shown))
        trial.finish()
    last: dict[str, int] = {}
    for ends, shown in looks:
        truth = counts_up_to(closed, ends)
        assert {key: count for key, count in shown.items() if count > truth[key]} == {}
        assert {key: count for key, count in shown.items() if count < last.get(key, 0)} == {}
        last = shown


@long
@pytest.mark.parametrize("seed", [1, 2])
def test_r17_the_state_directory_is_deleted_between_crashes(closed: Service, seed: int) -> None:
    rand = random.Random(seed)
    with Trial("R17 disks lost", closed, ClosedForm(seed=seed)).feed() as trial:
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
