"""A user's project is clean under mypy and pyright, both strict, and both find what is wrong in it.

Pyright is basedpyright's, whose wheel brings it and its Node: nothing is downloaded by a test.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.framework.integration.conftest import Run

BEGIN = """\
from datetime import timedelta
from functools import partial
from typing import Annotated

from millstream import Batches, Commit, ErrorPolicy, EventTime, Fallback, From, Record, Verdict, twin
from millstream.tables.aggregates import Count
from millstream.tables.values import ValueTable
from millstream.tables.windows import Window, WindowTable
from msgspec import Meta

from app import app


class Trip(Record):
    event_id: Annotated[str, From("id", fallback=Fallback.ORIGIN)]
    bike: str
    minutes: Annotated[float, Meta(ge=0)]
    timestamp: EventTime
    station: str | None = None


Fast = twin(Trip)
trips = app.source_topic("trips", Trip, key="bike", dead_letters="trips.dead-letters")
done = app.output_topic("trips.done", Trip, copartitioned=True)
stations = app.reference_topic("stations", Trip, key="bike")
counts = WindowTable("counts", size=timedelta(minutes=1), value=Count("trips"))
bikes = ValueTable("bikes", value=Count("trips"))
app.add_tables(trips, counts, bikes)
app.add_references(trips, stations)
"""
RIGHT = """\

@app.agent(trips, errors=ErrorPolicy({ValueError: Verdict.DEAD_LETTER}))
async def count(batches: Batches[Trip]) -> None:
    async for batch in batches:
        async with batch.commit() as commit:
            counted = counts.open(commit, changed=partial(changed, commit))
            known, looked_up = bikes.open(commit), stations.open(commit)
            for trip in batch:
                hours: float = trip.minutes / 60
                found = looked_up.get(trip.bike)
                station = None if found is None else found.station
                fast = Fast(
                    event_id="f", bike=trip.bike, minutes=hours, timestamp=trip.timestamp, station=station
                )
                commit.send(done, key=trip.bike, value=fast)
                plain = Trip(event_id="e", bike="b", minutes=1.0, timestamp=1.7e9)
                commit.send(done, key=trip.bike, value=plain)
                counted.add(trip.bike, trip, at=trip.timestamp)
                known.add(trip.bike, trip, at=trip.timestamp)


def changed(commit: Commit, window: Window) -> None:
    commit.update(done, key=window.key, value=window.result["trips"], of=window.key)
"""
WRONG = """\

@app.agent(trips)
def not_async(batches: Batches[Trip]) -> None: ...  # 1


@app.agent(trips)
async def wrong(batches: Batches[Trip]) -> None:
    async for batch in batches:
        async with batch.commit() as commit:
            for trip in batch:
                commit.sned(done, key=trip.bike, value=trip)  # 2
                minutes: str = trip.minutes  # 3
                counts.open(commit).add(trip.minutes, trip, at=trip.timestamp)  # 4


app.source_topic("more", "Trip", key="bike", dead_letters="more.dead")  # 5
"""


@pytest.fixture(scope="module")
def project(run: Run, folder: Path) -> Path:
    """A new project, with one more agent."""
    run("millstream", "new", "typed", cwd=folder)
    home = folder / "typed"
    (home / "agents" / "right.py").write_text(BEGIN + RIGHT)
    return home


def mypy(project: Path, venv: Path) -> str:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--python-executable"]
    done = subprocess.run(
        [*command, str(venv / "bin" / "python"), "."],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def pyright(project: Path, venv: Path) -> str:
    (project / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict"}))
    command = [sys.executable, "-m", "basedpyright", "--pythonpath", str(venv / "bin" / "python")]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("check", "clean"),
    [(mypy, "Success: no issues found in 10 source files"), (pyright, "0 errors, 0 warnings")],
)
def test_what_is_right_is_clean_and_what_is_wrong_is_found(
    project: Path, venv: Path, check: Callable[[Path, Path], str], clean: str
) -> None:
    assert clean in check(project, venv)
    file = project / "agents" / "wrong.py"
    file.write_text(text := BEGIN + WRONG)
    found = check(project, venv)
    file.unlink()
    lines = text.splitlines()
    wrong = {int(number) for number in re.findall(r"wrong\.py:(\d+):.*error(?!.*reportUnused)", found)}
    marked = {at for at, line in enumerate(lines, 1) if re.search(r"# \d$", line)}
    # A decorator's argument is reported where the decorator is.
    assert {at + 1 if lines[at - 1] == "@app.agent(trips)" else at for at in wrong} == marked, found
