"""Options of the commands that read files of events."""

from pathlib import Path

import click

from app.sources.files import MAPPINGS

files_argument = click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
mapping_option = click.option(
    "--as",
    "mapping",
    type=click.Choice(MAPPINGS),
    default="activity",
    show_default=True,
    help="What the lines are; see `millstream load --help`.",
)
limit_option = click.option("--limit", type=click.IntRange(0), help="Number of lines after which to stop.")
