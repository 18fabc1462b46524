"""Options of the commands that read files of events."""

from pathlib import Path
from typing import Any

import click

from millstream.cli.service import load_app
from millstream.cli.sources import as_source, chosen_source, named_reference
from millstream.engine.source import Source
from millstream.sources.formats import FileFormat, Rows
from millstream.sources.record_format import NAME, RecordFormat


class FormatChoice(click.ParamType):
    """The file formats of the service, which are known once it is loaded."""

    name = "format"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check that there is a format of this name."""
        formats: dict[str, FileFormat] = load_app().file_formats
        if value not in formats and value != NAME:
            names = ", ".join([*formats, NAME])
            self.fail(f"{value!r} is not a format of this service; known are: {names}", param, ctx)
        return str(value)


class FormatCommand(click.Command):
    """A command whose help lists the service's formats, if there is a service."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 (click's signature)
        """Write the formats after the options."""
        try:
            formats: dict[str, FileFormat] = load_app().file_formats
        except click.ClickException:
            return
        with formatter.section("Formats of this service"):
            own = [(form.name, form.about) for form in formats.values()]
            formatter.write_dl([*own, (NAME, "CSV or NDJSON with the fields of the topic's Record")])


files_argument = click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
format_option = click.option(
    "--as",
    "form",
    type=FormatChoice(),
    help="Format of the files.  [default: the service's first format, else `record`]",
)
limit_option = click.option("--limit", type=click.IntRange(0), help="Number of lines after which to stop.")


topic_option = click.option(
    "--topic",
    help="The topic of the events.  [default: the format's, or the only one that is fed from outside]",
)


def format_and_source(form: str | None, topic: str | None) -> tuple[Rows, Source]:
    """Return a format, and the topic of its values.

    Args:
        form: name of the format; None for the first one that the service has registered for the topic, else
            that of the Record's fields.
        topic: name of a source topic or reference topic; None for the format's, else the only one that is fed
            from outside.

    Raises:
        ClickException: the topic is not there, or there are several and none is named.
    """
    app = load_app()
    formats: dict[str, FileFormat] = app.file_formats
    sources: dict[str, Source] = app.topology.sources
    if topic is not None and (reference := named_reference(app, topic)) is not None:
        chosen = as_source(reference)
    elif topic is not None or form == NAME or not formats:
        chosen = chosen_source(app, topic)
    else:
        registered = formats[form] if form is not None else next(iter(formats.values()))
        return registered, sources[registered.topic.get_topic_name()]
    if form is not None and form != NAME:
        return formats[form], chosen
    if form is None:
        for one in formats.values():
            if one.topic.get_topic_name() == chosen.topic:
                return one, chosen
    return RecordFormat(chosen), chosen
