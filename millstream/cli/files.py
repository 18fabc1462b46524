"""Options of the commands that read files of events."""

from pathlib import Path
from typing import Any

import click

from millstream.cli.service import load_app
from millstream.engine.source import Source
from millstream.sources.formats import FileFormat


class FormatChoice(click.ParamType):
    """The file formats of the service, which are known once it is loaded."""

    name = "format"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> FileFormat:
        """Return the format with a name."""
        formats: dict[str, FileFormat] = load_app().file_formats
        if value not in formats:
            names = ", ".join(formats) or "none (`app.add_file_formats(…)`)"
            self.fail(f"{value!r} is not a format of this service; known are: {names}", param, ctx)
        return formats[value]


class FormatCommand(click.Command):
    """A command whose help lists the service's formats, if there is a service."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 (click's signature)
        """Write the formats after the options."""
        try:
            formats: dict[str, FileFormat] = load_app().file_formats
        except click.ClickException:
            return
        with formatter.section("Formats of this service"):
            formatter.write_dl([(form.name, form.about) for form in formats.values()])


files_argument = click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
format_option = click.option(
    "--as", "form", type=FormatChoice(), help="Format of the files.  [default: the service's first format]"
)
limit_option = click.option("--limit", type=click.IntRange(0), help="Number of lines after which to stop.")


def format_and_source(form: FileFormat | None) -> tuple[FileFormat, Source]:
    """Return a format, or the service's first one, and its source topic.

    Raises:
        ClickException: the service has no formats.
    """
    app = load_app()
    if form is None:
        if not app.file_formats:
            raise click.ClickException("this service has no file formats: `app.add_file_formats(…)` adds one")
        form = next(iter(app.file_formats.values()))
    return form, app.topology.sources[form.topic.get_topic_name()]
