"""The wheel that this Millstream was installed from: a new project needs it until Millstream is published."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from urllib.request import url2pathname

import click
import msgspec

# What a build reads beside the package.
BESIDE = ("pyproject.toml", "README.md", "LICENSE")


class Origin(msgspec.Struct):
    """What `direct_url.json` says of where a package was installed from (PEP 610)."""

    url: str
    vcs_info: dict[str, str] | None = None

    @property
    def path(self) -> Path | None:
        """The wheel or the checkout on this machine; None if it is elsewhere."""
        parts = urlsplit(self.url)
        return Path(url2pathname(parts.path)) if parts.scheme == "file" and not self.vcs_info else None

    @property
    def reference(self) -> str:
        """What `millstream @ …` takes."""
        if self.vcs_info is None:
            return self.url
        return f"{self.vcs_info['vcs']}+{self.url}@{self.vcs_info['commit_id']}"


def origin() -> Origin | None:
    """Return where Millstream was installed from; None if from an index."""
    try:
        raw = distribution("millstream").read_text("direct_url.json")
    except PackageNotFoundError:  # neither installed nor from a wheel: the folder that is imported
        return Origin(Path(__file__).resolve().parents[2].as_uri())
    return None if raw is None else msgspec.json.decode(raw, type=Origin)


def put_wheel(source: Path, folder: Path, echo: Callable[[str], None]) -> Path:
    """Copy the wheel into a folder, or build it there from the checkout.

    Returns:
        The wheel.

    Raises:
        ClickException: there is neither; the text says what to do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".whl" and source.is_file():
        made = folder / source.name
        made.write_bytes(source.read_bytes())
        return made
    if not source.is_file() and not (source / "pyproject.toml").is_file():
        raise click.ClickException(
            f"Millstream was installed from {source}, which is gone: install it again from a wheel that "
            "stays, and repeat this"
        )
    echo(f"Building a wheel of Millstream from {source}…")
    with TemporaryDirectory() as name:
        # From a copy: a build leaves folders beside the sources, and takes up what an earlier one has left.
        copy = Path(name) / "source" if source.is_dir() else source
        if source.is_dir():
            _copy(source, copy)
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps"]
        built = subprocess.run(
            [*command, "-w", str(folder), str(copy)], capture_output=True, text=True, check=False
        )
    wheels = list(folder.glob("millstream-*.whl"))
    if built.returncode or len(wheels) != 1:
        raise click.ClickException(
            f"cannot build a wheel of Millstream from {source}: install Millstream from a wheel, and repeat "
            f"this\n{built.stderr.strip()}"
        )
    return wheels[0]


def _copy(checkout: Path, folder: Path) -> None:
    shutil.copytree(
        checkout / "millstream", folder / "millstream", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in BESIDE:
        if (checkout / name).is_file():
            shutil.copy(checkout / name, folder)
