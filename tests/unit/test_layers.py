"""Imports go one way: models <- tables <- agents; app.engine knows none of them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {"app", "agents", "models", "tables", "tests", "bench"}


def imported(folder: str) -> set[str]:
    """Return the project's modules that a folder imports, by their first name or two."""
    found = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found |= {".".join(name.split(".")[:2]) for name in names if name.split(".")[0] in ROOMS}
    return found


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [("models", {"models"}), ("tables", {"tables", "models"}), ("app/engine", {"app.engine"})],
)
def test_a_room_imports_only_what_is_below_it(folder: str, allowed: set[str]) -> None:
    assert {name for name in imported(folder) if not any(name.startswith(a) for a in allowed)} == set()
