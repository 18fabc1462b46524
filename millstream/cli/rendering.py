"""Files made from the templates in `millstream/templates`."""

import ast
import string
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import click

SUFFIX = ".tmpl"
# The folders of a service that Python imports.
ROOMS = ("app", "models", "tables", "agents", "tests")
HIDDEN = "dot-"  # before the name of a file that begins with a dot


class Template(string.Template):
    """A text with places `%%name`: neither Python, Makefiles, Dockerfiles nor YAML write that."""

    delimiter = "%%"


def render(template: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return the files of a template, in order, by their paths.

    Args:
        template: name of its folder. A file is named for what it becomes, with `.tmpl` behind it.
        values: what its texts and paths have places for.
    """
    folder = files("millstream") / "templates" / template
    return {
        Template(path).substitute(values): Template(text).substitute(values)
        for path, text in sorted(_texts(folder, ""))
    }


def write(home: Path, texts: Mapping[str, str]) -> None:
    """Write files below a folder; none may exist.

    Raises:
        ClickException: a file exists, or cannot be written; nothing is overwritten.
    """
    if taken := [path for path in texts if (home / path).exists()]:
        raise click.ClickException(f"{', '.join(taken)} exists: choose another name")
    for path, text in texts.items():
        file = home / path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as out:
                out.write(text)
        except OSError as exc:
            raise click.ClickException(f"cannot write {file}: {exc.strerror}") from None


def imported_names(text: str) -> set[str]:
    """Return the names that a file of Python binds by its imports."""
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    return {(alias.asname or alias.name).partition(".")[0] for node in nodes for alias in node.names}


def _texts(folder: Traversable, under: str) -> list[tuple[str, str]]:
    found = []
    for one in folder.iterdir():
        name = one.name.removesuffix(SUFFIX)
        path = under + (f".{name.removeprefix(HIDDEN)}" if name.startswith(HIDDEN) else name)
        if one.is_dir():
            found += _texts(one, f"{path}/")
        elif one.name.endswith(SUFFIX):
            found.append((path, one.read_text(encoding="utf-8")))
    return found
