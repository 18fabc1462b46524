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
    dir_info: dict[str, bool] | None = None


def local_origin() -> Path | None:
    """Return the wheel or the checkout that Millstream was installed from; None if from an index."""
    try:
        raw = distribution("millstream").read_text("direct_url.json")
    except PackageNotFoundError:  # neither installed nor from a wheel: the folder that is imported
        return Path(__file__).resolve().parents[2]
    if raw is None:
        return None
    parts = urlsplit(msgspec.json.decode(raw, type=Origin).url)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def put_wheel(origin: Path, folder: Path, echo: Callable[[str], None]) -> Path:
    """Copy the wheel into a folder, or build it there from the checkout.

    Returns:
        The wheel.

    Raises:
        ClickException: there is neither; the text says what to do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if origin.suffix == ".whl" and origin.is_file():
        made = folder / origin.name
        made.write_bytes(origin.read_bytes())
        return made
    if not (origin / "pyproject.toml").is_file():
        raise click.ClickException(
            f"Millstream was installed from {origin}, which is gone: install it again from a wheel that "
            "stays, and repeat this"
        )
    echo(f"Building a wheel of Millstream from {origin}…")
    with TemporaryDirectory() as name:
        # From a copy: a build leaves folders beside the sources, and takes up what an earlier one has left.
        source = Path(name) / "source"
        _copy(origin, source)
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps"]
        built = subprocess.run(
            [*command, "-w", str(folder), str(source)], capture_output=True, text=True, check=False
        )
    wheels = list(folder.glob("millstream-*.whl"))
    if built.returncode or len(wheels) != 1:
        raise click.ClickException(
            f"cannot build a wheel of Millstream from {origin}: install Millstream from a wheel, and repeat "
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
