"""The product was called otherwise once: that name belongs to somebody else's package."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FORMER = "mill" + "race"


def test_no_file_or_path_has_the_former_name() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = listed.stdout.splitlines()
    assert len(names) > 100
    assert [name for name in names if FORMER in name.lower()] == []
    found = [
        name
        for name in names
        if (ROOT / name).is_file() and FORMER.encode() in (ROOT / name).read_bytes().lower()
    ]
    assert found == []
