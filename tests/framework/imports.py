"""Which modules of the project import which: imports for types and inside of functions, too."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def modules(*folders: str) -> dict[str, Path]:
    """Return the files of folders, by their modules' names."""
    found = {}
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imported(file: Path, known: Iterable[str] = ()) -> set[str]:
    """Return what a file imports.

    Args:
        file: the file.
        known: names of modules. `from package import name` imports `package.name` where that is one of them,
            else the package.
    """
    known = set(known)
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in names}
    return found


def graph(*folders: str) -> dict[str, set[str]]:
    """Return what each module of folders imports of them."""
    found = modules(*folders)
    return {name: (imported(file, found) & found.keys()) - {name} for name, file in found.items()}


def cycles(edges: Mapping[str, set[str]]) -> list[set[str]]:
    """Return the sets of modules that import each other: the strongly connected components of several."""
    reached = {name: set(_reached(name, edges)) for name in edges}
    rings = {
        frozenset(other for other in others if name in reached[other]) for name, others in reached.items()
    }
    return [set(ring) for ring in sorted(rings, key=sorted) if len(ring) > 1]


def _reached(name: str, edges: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield all that a module imports, directly or not, and itself if it is among that."""
    seen: set[str] = set()
    left = set(edges[name])
    while left:
        one = left.pop()
        if one not in seen:
            seen.add(one)
            left |= edges[one]
            yield one
