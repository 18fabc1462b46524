"""The errors of a service's declarations."""

import click


class DeclarationError(click.ClickException):
    """A service declares what cannot work; the text says what to write instead.

    Both command lines print it as one message, without a traceback.
    """
