"""Finding the agents of a service: the files of its folder `agents/`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from millstream.settings import SettingsError

FOLDER = "agents"
# The rooms of a service, beside the module or package that makes its App.
ROOMS = (FOLDER, "models", "tables")


@dataclass(frozen=True)
class Home:
    """Where a service lies.

    Attributes:
        app: name of the module that makes its App.
        package: name of the package that its rooms are in; empty for top-level rooms.
        folder: the folder of the rooms.
    """

    app: str
    package: str
    folder: Path

    @property
    def agents(self) -> list[str]:
        """Names of the agents' files, in order."""
        return sorted(path.stem for path in (self.folder / FOLDER).glob("[a-z]*.py"))

    @property
    def modules(self) -> list[str]:
        """Names of the service's modules that are loaded."""
        roots = [self.app, *(self._name(room) for room in ROOMS)]
        return [
            name for name in sys.modules if any(name == root or name.startswith(f"{root}.") for root in roots)
        ]

    def load(self, names: Sequence[str]) -> None:
        """Import agents; importing one declares it on its App."""
        for name in names:
            import_module(self._name(f"{FOLDER}.{name}"))

    def _name(self, module: str) -> str:
        return f"{self.package}.{module}" if self.package else module


def home_of_caller(package: str) -> Home | None:
    """Return where the service lies whose module calls from outside of `package`.

    Its agents are in the folder `agents` of that module, if it is a package and has one, else beside it. None
    where the module is in no file, as at Python's prompt.
    """
    frame = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame = frame.f_back  # type: ignore[assignment] # None ends the loop
    if frame is None or not (file := frame.f_globals.get("__file__")):
        return None
    name, path = frame.f_globals.get("__name__", ""), Path(file).resolve()
    is_package = path.name == "__init__.py"
    if is_package and (path.parent / FOLDER).is_dir():
        return Home(name, name, path.parent)
    return Home(name, name.rpartition(".")[0], path.parents[1] if is_package else path.parent)


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
