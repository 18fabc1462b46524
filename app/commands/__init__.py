"""The command line: one command a file, loaded when it is called."""

from importlib import import_module

import click

from app.settings import settings

COMMANDS = {
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
    """A group whose commands are the modules beside this one."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """Names in the order in which a new user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (as above)
        """Import the command's module; it holds one `command`."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"{__name__}.{COMMANDS[cmd_name]}").command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Millstream: a real-time event pipeline on Apache Kafka.

    Settings come from the environment (see README): KAFKA_BOOTSTRAP_SERVERS for an outside Kafka,
    MILLSTREAM_… for the rest.
    """
    settings()
