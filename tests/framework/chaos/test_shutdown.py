"""SIGTERM in the middle of the work."""

import time
from pathlib import Path

import pytest

from tests.framework.chaos.closed_form import ClosedForm
from tests.framework.chaos.trial import Trial
from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

EXIT = 30


def test_r14_sigterm_with_a_sink_that_hangs(kafka: str, tmp_path: Path) -> None:
    load = ClosedForm(rate=1500)
    with (
        Service(kafka, tmp_path, app="tests.framework.apps.hanging") as service,
        Trial("R14 hanging sink", service, load, workers=1, HANGING="30").feed() as trial,
    ):
        worker = trial.busy()
        trial.wait_until(lambda: "hangs, as told" in worker.log.read_text(), 30, "the sink hangs")
        began = time.monotonic()
        worker.stop(EXIT + 5)
        took = time.monotonic() - began
        trial.report.faults["terminate"] += 1
        trial.report.more["exit_seconds"] = round(took, 1)
        trial.settings.clear()
        trial.workers.remove(worker)
        trial.add(worker.name).wait_ready()
        trial.finish()
        assert took <= EXIT
