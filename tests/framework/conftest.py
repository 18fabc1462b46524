"""The services that the framework's own tests run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.framework.chaos.closed_form import ClosedForm
from tests.framework.service import Service


@pytest.fixture
def service(kafka: str, tmp_path: Path) -> Iterator[Service]:
    """The visits with topics, state and web port of their own; the workers end with the test."""
    with Service(kafka, tmp_path, "tests.framework.apps.visits", "visits.raw") as started:
        yield started


@pytest.fixture
def closed(kafka: str, tmp_path: Path) -> Iterator[Service]:
    """The closed-form service."""
    with Service(kafka, tmp_path, ClosedForm.app, ClosedForm.source) as started:
        yield started
