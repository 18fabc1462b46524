"""The façade's names, and the pages that are made of their docstrings."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import millstream

ROOT = Path(__file__).resolve().parents[3]


def words(name: str) -> tuple[bool, str]:
    """Order of names: classes first, as ruff sorts them."""
    return not name[0].isupper(), name


def test_the_names_are_sorted_and_each_is_there() -> None:
    assert sorted(millstream.__all__, key=words) == millstream.__all__
    assert [getattr(millstream, name, None) is None for name in millstream.__all__].count(True) == 0
    assert dir(millstream) == millstream.__all__


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((ROOT / "millstream" / "__init__.py").read_text())
    (guarded,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = [alias.name for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(seen, key=words) == millstream.__all__


def test_the_pages_name_all_that_is_public(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "docs" / "api.py"), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    shown = ids(tmp_path / "millstream.html")
    assert set(millstream.__all__) <= shown
    assert "Declarations.source_topic" in ids(tmp_path / "millstream" / "declarations.html")
    for file in (ROOT / "millstream" / "tables").glob("*.py"):
        declared = set(re.findall(r"^class (\w+Table)\b", file.read_text(), re.M))
        page = tmp_path / "millstream" / "tables" / f"{file.stem}.html"
        assert declared <= (ids(page) if page.exists() else set()), file.name


def ids(page: Path) -> set[str]:
    """Return what a page describes."""
    return set(re.findall(r'id="([\w.]+)"', page.read_text()))
