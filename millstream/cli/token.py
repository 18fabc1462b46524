"""`millstream token`: a token for the views."""

import secrets
from collections.abc import Sequence

import click

from millstream.web.tokens import OPERATE, READ, digest


@click.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([READ, OPERATE]),
    default=[READ],
    show_default=True,
    help="Scope of the token; may be given several times.",
)
def command(name: str, scopes: Sequence[str]) -> None:
    """Create a token for a client of the views.

    Append the printed line to the file that MILLSTREAM_TOKENS names, on every worker's machine; it contains
    only a hash. The token itself is shown once. To revoke it, delete its line: no worker needs a restart.

    \b
    Example:
      millstream token grafana >> tokens     # the token goes to the terminal, its line to the file
    """
    if not name or not name.isprintable() or any(letter.isspace() or letter == "#" for letter in name):
        raise click.BadParameter("a name is one word, without #", param_hint="NAME")
    token = secrets.token_urlsafe(32)
    click.echo(f"token of {name}, shown once: {token}", err=True)
    click.echo(f"{name} {','.join(dict.fromkeys(scopes))} {digest(token)}")
