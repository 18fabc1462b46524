"""Sessions and windows, over one partition and over all, through faults: each is sent once, and right."""

import pytest

from tests.chaos.users import SETTINGS, Users
from tests.framework.chaos.trial import Trial
from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("seed", "faults"),
    [
        (1, ["kill", "freeze", "lose"]),
        pytest.param(2, ["kill", "lose"] * 5, marks=pytest.mark.long),
        pytest.param(3, ["kill", "lose", "freeze"] * 3, marks=pytest.mark.long),
    ],
)
def test_windows_close_once_and_right(service: Service, seed: int, faults: list[str]) -> None:
    with Trial("windows", service, Users(rate=1000, seed=seed), **SETTINGS).feed() as trial:
        trial.hurt(faults)
        trial.finish()
