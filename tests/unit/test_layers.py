"""Imports of the service go one way: models < app < tables < agents."""

import pytest

from tests.framework.imports import cycles, graph

LAYERS = ("models", "app", "tables", "agents")
EDGES = graph(*LAYERS)


def level(module: str) -> int:
    return LAYERS.index(module.partition(".")[0])


@pytest.mark.parametrize("module", EDGES)
def test_imports_go_down(module: str) -> None:
    assert [other for other in sorted(EDGES[module]) if level(other) > level(module)] == []


def test_only_the_app_imports_what_declares_on_it() -> None:
    # `app/__init__.py` makes the App, and then imports its modules, which declare on it.
    assert [ring - {"app"} for ring in cycles(EDGES) if "app" not in ring] == []
    without = {name: others - {"app"} for name, others in EDGES.items() if name != "app"}
    assert cycles(without) == []
