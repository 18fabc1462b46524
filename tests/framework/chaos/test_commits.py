"""Commits that fail between their steps: outputs, state, offsets."""

import re
from pathlib import Path

import pytest

from tests.framework.chaos.closed_form import ClosedForm
from tests.framework.chaos.trial import Trial
from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
long = pytest.mark.long
RETRIES = re.compile(r"^millstream_batch_retries_total{.*} (\S+)$", re.MULTILINE)


@pytest.mark.parametrize(
    ("mode", "faults"),
    [
        ("offsets", 2),
        pytest.param("before", 5, marks=long),
        pytest.param("after", 5, marks=long),
        ("die-before", 3),
        pytest.param("die-after", 3, marks=long),
    ],
)
def test_r10_a_commit_fails(kafka: str, tmp_path: Path, mode: str, faults: int) -> None:
    load = ClosedForm(rate=1500)
    with (
        Service(kafka, tmp_path, app="tests.framework.apps.failing_commits") as service,
        Trial(f"R10 {mode}", service, load, workers=1, FAILING=mode).feed() as trial,
    ):
        report = trial.report

        def failed() -> int:
            if mode.startswith("die") or mode == "offsets":
                return report.ended
            found = RETRIES.findall(trial.workers[0].get("/metrics").text)
            return sum(int(float(count)) for count in found)

        trial.wait_until(lambda: failed() >= faults, 60, f"{faults} commits have failed")
        report.faults[mode] = failed()
        trial.settings.clear()
        trial.kill()  # the next one is healthy
        trial.finish()
        if mode in ("before", "die-before"):  # outputs were confirmed, and their state was not
            assert report.repeats > 0
        else:  # the state was, and the group's offsets were not
            assert report.skipped > 0
