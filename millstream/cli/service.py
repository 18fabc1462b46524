"""The service of a command: the App in the current folder, or the one that `-A` names."""

import os
import sys
from typing import Any

import click

DEFAULT = "app"


def app_name() -> str:
    """Return the service's module, the value of `-A`."""
    context = click.get_current_context(silent=True)
    return DEFAULT if context is None else str(context.find_root().params.get("app", DEFAULT))


def load_app(name: str | None = None) -> Any:
    """Return the service's App, with its agents. A command's help does not need it.

    Args:
        name: its module, or `module:attribute`; None for the value of `-A`.

    Raises:
        ClickException: there is no App; the text says what to do.
    """
    # Slow imports, which --help does not need.
    from faust.cli.base import find_app  # noqa: PLC0415

    from millstream.app import App  # noqa: PLC0415

    name = app_name() if name is None else name
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        app = find_app(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not name.startswith(exc.name):
            raise
        raise click.ClickException(
            f"there is no service {name!r} here ({exc}): run this in the folder of a service, or give its "
            "module with `millstream -A MODULE …`"
        ) from None
    except AttributeError as exc:
        raise click.ClickException(f"{name!r} has no App ({exc}): `app = millstream.App(…)`") from None
    if not isinstance(app, App):
        raise click.ClickException(f"{name!r} is not an App of Millstream: `app = millstream.App(…)`")
    return app
