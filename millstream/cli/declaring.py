"""Adding a declaration to a service's app/topics.py."""

import ast
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType

import click

from millstream.cli.rendering import Template

SOURCE = """\
%%source = app.source_topic(
    "%%topic",
    %%record,
    key="key",
    dead_letters="%%letters",
)
"""
OUTPUT = """\
%%source = app.output_topic("%%topic", %%record)
"""


def module_of_topics(path: str) -> ModuleType:
    """Return the module `app.topics`, as the service has loaded it."""
    module = sys.modules.get("app.topics") or import_module("app.topics")
    if Path(module.__file__ or "").resolve() != Path(path).resolve():
        raise click.ClickException(f"`app.topics` is {module.__file__}, not {path} in this folder")
    return module


def with_source(text: str, values: Mapping[str, str]) -> str:
    """Return the text of app/topics.py with a source topic at its end, and its Record imported."""
    return _with(text, SOURCE, values)


def with_output(text: str, values: Mapping[str, str]) -> str:
    """Return the text of app/topics.py with an output topic at its end, and its Record imported."""
    return _with(text, OUTPUT, values)


def replace(file: Path, text: str) -> None:
    """Write a file anew, as a whole."""
    new = file.with_name(f"{file.name}.new")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(file)
    except OSError as exc:
        raise click.ClickException(f"cannot write {file}: {exc.strerror}") from None


def _with(text: str, declaration: str, values: Mapping[str, str]) -> str:
    module = f"models.{values['name']}"
    lines = text.splitlines()
    lines.insert(_place(text, module), f"from {module} import {values['record']}")
    return "\n".join(lines).rstrip() + "\n" + Template(declaration).substitute(values)


def _place(text: str, module: str) -> int:
    """Return before which line the import of a module belongs, in the order of names."""
    body = ast.parse(text).body
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    rooms = [node for node in imports if isinstance(node, ast.ImportFrom) and node.module]
    for node in rooms:
        if str(node.module).startswith("models.") and str(node.module) > module:
            return node.lineno - 1
    # Behind the import of the App, which there is.
    return max(node.end_lineno or node.lineno for node in imports)
