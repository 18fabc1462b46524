"""A worker that dies, and its successor that has a warm copy."""

import re
import time

import pytest

from tests.framework.chaos.closed_form import ClosedForm
from tests.framework.chaos.kafka import offsets
from tests.framework.chaos.state_log import topic_of
from tests.framework.chaos.trial import Trial
from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.long, pytest.mark.timeout(300)]

READY = re.compile(r"(\S+)/(\d+): ready at offset \d+, (\d+) records of its state log read")
NEAR = 5_000  # records that a warm copy may be behind


def copies(trial: Trial) -> dict[str, int]:
    """Return the lag of each warm copy, by partition."""
    return {
        copy["partition"]: copy["lag"]
        for worker in trial.workers
        for copy in worker.get("/health").json()["standbys"]
        if copy["partition"].startswith(f"{trial.service.topic(ClosedForm.source)}/")
    }


def test_r12_the_active_dies_and_its_standby_takes_over(closed: Service) -> None:
    load = ClosedForm(keys=2000, width=20, rate=4000)
    with Trial("R12 standby", closed, load, MILLSTREAM_STANDBYS="1").feed() as trial:
        read: list[int] = []
        for _ in range(3):
            time.sleep(8)
            trial.wait_until(
                lambda: len(lags := copies(trial)) == 4 and max(lags.values()) < NEAR, 60, "copies are warm"
            )
            ends = offsets(closed.kafka, topic_of(closed, load.source))[1]
            before = {worker: len(worker.log.read_text()) for worker in trial.workers}
            dead = trial.kill(restart=False)
            lost = trial.strikes[-1].partitions
            trial.wait_until(
                lambda: sum(len(trial.held(worker)) for worker in trial.workers) == 4, 60, "all are held"
            )
            for worker in trial.workers:
                for topic, number, records in READY.findall(worker.log.read_text()[before[worker] :]):
                    if topic == closed.topic(load.source) and int(number) in lost:
                        read.append(int(records))
                        assert int(records) < NEAR < ends[int(number)], "a cold restore"
            assert read, "nobody took over"
            trial.add(dead.name).wait_ready()
        trial.report.more["read_at_takeover"] = read
        trial.finish()
