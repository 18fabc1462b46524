"""The service of a command: the App in the current folder, or the one that `-A` names."""

import os
import sys
from typing import Any

import click

from millstream.settings import unknown_variables

DEFAULT = "app"
# Where a command keeps its App.
_META = "millstream.app"


def app_name() -> str:
    """Return the service's module, the value of `-A`."""
    context = click.get_current_context(silent=True)
    return DEFAULT if context is None else str(context.find_root().params.get("app", DEFAULT))


def load_app() -> Any:
    """Return the App that `-A` names, with its agents; it is loaded once in a command, whose help needs none.

    Raises:
        ClickException: there is no App; the text says what to do.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        return _found_app(app_name())
    if _META not in context.meta:
        context.meta[_META] = _found_app(app_name())
    return context.meta[_META]


def _found_app(name: str) -> Any:
    # Slow imports, which --help does not need.
    from faust.cli.base import find_app  # noqa: PLC0415

    from millstream.app import App  # noqa: PLC0415

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
    for warning in unknown_variables():  # once the service has read settings of its own
        click.echo(f"Warning: {warning}", err=True)
    return app
