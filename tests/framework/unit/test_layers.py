"""Imports go one way: through the layers of the framework, and never into a service."""

from pathlib import Path
from statistics import median

import pytest

from tests.framework.imports import ROOT, cycles, graph, imported, modules

# From the lowest up; a layer may import from itself and from those below it.
LAYERS = (
    ("aio", "errors", "fields", "records", "settings", "version"),
    ("kafka",),
    ("serde",),
    ("state",),
    ("tables",),
    ("engine",),
    ("observability",),
    ("sources",),
    ("web",),
    ("checks", "declarations", "producer", "agents", "faust_options", "app"),
    ("testing",),
    ("cli", "__main__"),
)
LEVELS = {part: level for level, layer in enumerate(LAYERS) for part in layer}
SERVICE = {"app", "agents", "models", "tables"}
FACADE = "millstream"
EDGES, FILES = graph("millstream"), modules("millstream")
OUR_TESTS = modules("tests/framework")
MOST_LINES = 400
MEDIAN_LINES = 150


def part(module: str) -> str:
    return module.split(".")[1]


def tops(file: Path) -> set[str]:
    """Return the top-level packages that a file imports from."""
    return {name.partition(".")[0] for name in imported(file)}


def python_files() -> list[Path]:
    folders = ("millstream", *SERVICE, "tests", "bench")
    return [file for folder in folders for file in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize("module", EDGES)
def test_the_framework_knows_no_service(module: str) -> None:
    assert tops(FILES[module]) & (SERVICE | {"tests", "bench"}) == set()


@pytest.mark.parametrize("module", OUR_TESTS)
def test_its_tests_know_no_service(module: str) -> None:
    file = OUR_TESTS[module]
    assert tops(file) & (SERVICE | {"bench"}) == set()
    of_tests = {name for name in imported(file, modules("tests")) if name.startswith("tests.")}
    assert of_tests <= OUR_TESTS.keys()


def test_each_part_has_its_layer() -> None:
    assert {part(module) for module in EDGES if module != FACADE} == LEVELS.keys()


@pytest.mark.parametrize("module", [module for module in EDGES if module != FACADE])
def test_imports_go_down(module: str) -> None:
    level = LEVELS[part(module)]
    assert [other for other in EDGES[module] if other == FACADE or LEVELS[part(other)] > level] == []


def test_no_modules_import_each_other() -> None:
    assert cycles(EDGES) == []


def test_cycles_are_found() -> None:
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"e"}, "f": {"a"}}
    assert cycles(edges) == [{"b", "c"}]


def test_imports_are_found_wherever_they_are(tmp_path: Path) -> None:
    file = tmp_path / "some.py"
    file.write_text(
        "import a.b as c\n"
        "from d import e, f\n"
        "if TYPE_CHECKING:\n    from g.h import I\n"
        "def x():\n    from j import k\n    import l\n"
    )
    assert imported(file, ["d.e"]) == {"a.b", "d.e", "d", "g.h", "j", "l"}


def test_no_file_is_too_long() -> None:
    long = {str(file): lines for file in python_files() if (lines := _lines(file)) > MOST_LINES}
    assert long == {}


def test_files_of_the_framework_are_short() -> None:
    assert median(map(_lines, FILES.values())) <= MEDIAN_LINES


def _lines(file: Path) -> int:
    return file.read_text().count("\n")
