"""Reports of the chaos tests at the end of the session."""

import pytest

from tests.chaos import report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if report.LINES:
        terminalreporter.section("chaos")
        for line in report.LINES:
            terminalreporter.write_line(line)
