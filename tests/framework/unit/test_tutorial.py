"""docs/tutorial.md: its code is a service whose own test is green; no more than 200 lines."""

import re
import subprocess
import sys
from pathlib import Path

from millstream.cli.rendering import render

TUTORIAL = (Path(__file__).resolve().parents[3] / "docs" / "tutorial.md").read_text()
BLOCKS = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_tutorial_is_short_and_each_block_of_code_is_a_file() -> None:
    assert TUTORIAL.count("\n") <= 200
    for language, text in BLOCKS.findall(TUTORIAL):
        assert language == "" or re.match(r"# [a-z_/]+\.py\n", text)


def test_its_service_passes_its_test(tmp_path: Path) -> None:
    # `millstream new bikes`, without what the tutorial removes.
    new = render("new", {"name": "bikes", "requirement": "", "wheel": "", "copy_wheel": ""})
    for path, text in new.items():
        if "orders" not in path:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
    for language, text in BLOCKS.findall(TUTORIAL):
        if language == "python":
            path = tmp_path / text.partition("\n")[0].removeprefix("# ")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr
    assert "1 passed" in ran.stdout
