"""How far events come out of order."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from millstream.cli import main
from millstream.cli.lateness import behind, report


def test_each_event_is_compared_with_those_of_its_partition_before_it() -> None:
    events = [(0, 10.0), (1, 5.0), (0, 7.0), (0, 12.0), (1, 6.0), (0, 11.5)]
    assert list(behind(events)) == [0.0, 0.0, 3.0, 0.0, 0.0, 0.5]


def test_the_report_says_how_many_would_be_late() -> None:
    lines = list(report([0.0] * 97 + [2.0, 90.0, 90.0]))
    assert lines[0] == "100 events; behind the newest event of their partition:"
    assert [line.split() for line in lines[1:6]] == [
        ["0.5", "of", "them", "at", "most", "0", "s"],
        ["0.9", "of", "them", "at", "most", "0", "s"],
        ["0.99", "of", "them", "at", "most", "1.5", "min"],
        ["0.999", "of", "them", "at", "most", "1.5", "min"],
        ["at", "most", "1.5", "min"],
    ]
    late = [line.split()[-2:] for line in lines[7:]]
    assert late == [["3", "(3.00%)"]] * 2 + [["2", "(2.00%)"]] * 3 + [["0", "(0.00%)"]]


def measured(file: Path) -> Result:
    return CliRunner().invoke(main, ["-A", "tests.framework.apps.shop", "lateness", str(file)])


def test_a_file_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text(
        "".join(
            f'{{"event_id": "e{n}", "user_id": "u", "action": "login", "timestamp": {at}}}\n'
            for n, at in enumerate([1000, 1100, 1040, 1200])
        )
        + "{\n"
    )
    done = measured(file)
    assert done.exit_code == 0, done.output
    assert "4 events" in done.output
    assert "1 (25.00%)" in done.output
    assert "at most  1 min" in done.output


@pytest.mark.parametrize("text", ["", "{\n"])
def test_a_file_without_events_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text(text)
    done = measured(file)
    assert done.exit_code == 1
    assert "has no events" in done.output
