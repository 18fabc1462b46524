"""Prometheus' own checks, where they are installed."""

import shutil
import subprocess

import pytest


def promtool(*args: str, given: str = "") -> None:
    """Run promtool with a text as its input, or skip."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool: `make components` installs it")
    done = subprocess.run(
        [program, *args], input=given, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
