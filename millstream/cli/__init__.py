"""The command line: one module per command, imported when the command is used."""

from importlib import import_module

import click

from millstream.cli.service import DEFAULT
from millstream.settings import settings
from millstream.version import __version__

COMMANDS = {
    "new": "new",
    "add": "add",
    "run": "run",
    "kafka": "kafka",
    "topics": "topics",
    "produce": "produce",
    "load": "load",
    "replay": "replay",
    "lateness": "lateness",
    "dead-letters": "dead_letters",
    "tail": "tail",
    "token": "token",
}


class Commands(click.Group):
    """A group whose commands are the modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """Return the names in the order in which a new user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (as above)
        """Import the command's module; it defines one `command`."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"{__name__}.{COMMANDS[cmd_name]}").command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("-A", "--app", default=DEFAULT, show_default=True, help="Module of the service's App.")
@click.version_option(__version__, prog_name="millstream")
def main(app: str) -> None:  # noqa: ARG001 (commands find it in the context)
    """Millstream: a real-time event pipeline on Apache Kafka.

    Settings come from the environment (see README): KAFKA_BOOTSTRAP_SERVERS for an outside Kafka,
    MILLSTREAM_… for the rest.
    """
    settings()
