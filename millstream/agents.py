"""Finding the agents of a service: the files of its folder `agents/`."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from millstream.settings import SettingsError

FOLDER = "agents"


def home_of_caller(package: str) -> Path | None:
    """Return the folder that holds the module which calls from outside of `package`, or its top package.

    None where the module is in no file, as at Python's prompt.
    """
    frame = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame = frame.f_back  # type: ignore[assignment] # None ends the loop
    if frame is None or not (file := frame.f_globals.get("__file__")):
        return None
    name, path = frame.f_globals.get("__name__", ""), Path(file).resolve()
    levels = name.count(".") + (path.name == "__init__.py")
    home: Path = path.parents[levels]
    return home


def found_agents(home: Path) -> list[str]:
    """Return the names of the agents' files below a service's folder, in order."""
    return sorted(path.stem for path in (home / FOLDER).glob("[a-z]*.py"))


def wanted_agents(there: Sequence[str], named: str, usual: Sequence[str] | None) -> list[str]:
    """Return the names of the agents that are to run, in order.

    Args:
        there: the agents that there are.
        named: those that the setting names, with commas; empty if it names none.
        usual: those that the service runs without the setting, as far as they are there; None for all.

    Raises:
        SettingsError: the setting names one that is not there.
    """
    if not named:
        return list(there) if usual is None else [name for name in usual if name in there]
    names = named.split(",")
    if unknown := [name for name in names if name not in there]:
        raise SettingsError(
            f"settings in the environment are not valid:\n  MILLSTREAM_AGENTS={named}: "
            f"there is no agent {', '.join(unknown)!r}; there are: {','.join(there)}"
        )
    return names


def load(names: Sequence[str]) -> None:
    """Import agents; importing one declares it on its App."""
    for name in names:
        import_module(f"{FOLDER}.{name}")
