"""Where a new project takes Millstream from."""

from pathlib import Path

import click
import pytest

from millstream.cli.own_wheel import Origin, put_wheel


@pytest.mark.parametrize(
    ("origin", "path", "reference"),
    [
        (Origin("file:///a%20b/m.whl"), Path("/a b/m.whl"), "file:///a%20b/m.whl"),
        (Origin("https://h/m.whl"), None, "https://h/m.whl"),
        (Origin("https://h/m", {"vcs": "git", "commit_id": "abc"}), None, "git+https://h/m@abc"),
        (Origin("file:///m", {"vcs": "git", "commit_id": "abc"}), None, "git+file:///m@abc"),
    ],
)
def test_a_place_on_this_machine_or_elsewhere(origin: Origin, path: Path | None, reference: str) -> None:
    assert (origin.path, origin.reference) == (path, reference)


def test_a_wheel_is_copied(tmp_path: Path) -> None:
    wheel = tmp_path / "millstream-1-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    assert put_wheel(wheel, tmp_path / "new", print).read_bytes() == b"wheel"


def test_a_wheel_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        click.ClickException, match=r"installed from .*gone\.whl, which is gone: install it again"
    ):
        put_wheel(tmp_path / "gone.whl", tmp_path / "new", print)


def test_a_wheel_that_cannot_be_built_says_why(tmp_path: Path) -> None:
    (tmp_path / "millstream").mkdir()
    (tmp_path / "pyproject.toml").write_text("[build-system]\nrequires = [")
    with pytest.raises(
        click.ClickException, match=r"(?s)cannot build a wheel of Millstream from .*pyproject.toml"
    ):
        put_wheel(tmp_path, tmp_path / "new", print)
