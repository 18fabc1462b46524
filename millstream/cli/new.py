"""`millstream new`: a project of one's own."""

import os
import re
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from millstream.cli.own_wheel import Origin, origin, put_wheel
from millstream.cli.rendering import ROOMS, render, write
from millstream.version import __version__

# A name of a distribution, of a consumer group, of an image and of a project of Docker Compose.
NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
LONGEST = 60
REQUIRED = re.compile(r"[A-Za-z0-9._-]+")
TESTS = "pytest"  # what the project requires beside Millstream


@click.command()
@click.argument("name")
def command(name: str) -> None:
    """Write a new project into the folder NAME: a service that runs, with its test.

    It has a topic of orders, one Record, two tables, one agent and one test, to be replaced by your own; and
    what builds, tests and ships it. Until Millstream is published, the wheel that this Millstream was
    installed from goes into the project's folder `wheels`.

    \b
    Example:
      millstream new orders && cd orders && make run
    """
    _check(name)
    home = Path(name)
    if os.path.lexists(home) and not (home.is_dir() and not any(home.iterdir())):
        raise click.ClickException(f"{name} is there already, and not an empty folder: choose another name")
    with TemporaryDirectory() as folder:
        found = origin()
        wheel = (
            None if found is None or found.path is None else put_wheel(found.path, Path(folder), click.echo)
        )
        texts = render("new", _values(name, found, wheel))
        write(home, texts)
        if wheel is not None:
            try:
                (home / "wheels").mkdir()
                (home / "wheels" / wheel.name).write_bytes(wheel.read_bytes())
            except OSError as exc:
                raise click.ClickException(f"cannot write {home / 'wheels'}: {exc.strerror}") from None
            texts[f"wheels/{wheel.name}"] = ""
    for path in texts:
        click.echo(f"  {home / path}")
    click.echo(f"Next: cd {name} && make run; then `make test`, and README.md says what is where.")


def _values(name: str, found: Origin | None, wheel: Path | None) -> dict[str, str]:
    major, minor, *_ = __version__.split(".")
    elsewhere = None if found is None or wheel is not None else found.reference
    return {
        "name": name,
        "requirement": f"~={major}.{minor}" if elsewhere is None else f" @ {elsewhere}",
        # By its name: an index may have another package of ours' name.
        "wheel": "" if wheel is None else f"wheels/{wheel.name} ",
        "copy_wheel": "" if wheel is None else "COPY wheels ./wheels\n",
    }


def _check(name: str) -> None:
    """Refuse what cannot be the name of all that is named for the project.

    Raises:
        ClickException: with the reason.
    """
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise click.ClickException(
            f"{name!r} is no name for a project: small letters and digits, with single - or _ between them, "
            f"beginning with a letter, at most {LONGEST}; for example `orders` or `page-views`"
        )
    if name.replace("-", "_") in sys.stdlib_module_names:
        raise click.ClickException(f"{name!r} is a module of Python itself: choose another name")
    if name in ROOMS:
        raise click.ClickException(f"{name!r} is a folder of every project: choose another name")
    if _normal(name) in _required("millstream") | _required(TESTS):
        raise click.ClickException(
            f"{name!r} is a package that the project needs, and would take its place: choose another name"
        )


def _required(package: str) -> set[str]:
    """Return the normal names of a package and of all that it requires, as far as it is installed."""
    found: set[str] = set()
    left = [package]
    while left:
        name = _normal(left.pop())
        if name in found:
            continue
        found.add(name)
        try:
            named = [REQUIRED.match(one) for one in requires(name) or ()]
        except PackageNotFoundError:
            continue
        left += [match.group() for match in named if match]
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
