"""Options of the commands that read files of events."""

from pathlib import Path
from typing import Any

import click

from millstream.cli.service import load_app
from millstream.cli.sources import (
    as_source,
    chosen_source,
    named_reference,
    named_source,
    source_names,
)
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
            names = ", ".join(dict.fromkeys([*formats, NAME]))
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
            known = {form.name: form.about for form in formats.values()}
            known.setdefault(NAME, "CSV or NDJSON with the fields of the topic's Record")
            formatter.write_dl(list(known.items()))


existing_files = click.Path(exists=True, dir_okay=False, path_type=Path)
files_argument = click.argument("files", nargs=-1, required=True, type=existing_files)
format_option = click.option(
    "--as",
    "form",
    type=FormatChoice(),
    help="Format of the files.  [default: the first that the service has for the topic, else `record`]",
)
limit_option = click.option("--limit", type=click.IntRange(0), help="Number of lines after which to stop.")


topic_option = click.option(
    "--topic",
    help="The topic of the events.  [default: the format's, or the only one that is fed from outside]",
)


def format_and_source(
    form: str | None, topic: str | None, *, references: bool = False
) -> tuple[Rows, Source]:
    """Return a format, and the topic of its values.

    Args:
        form: name of the format; None for the first one that the service has registered for the topic, else
            that of the Record's fields.
        topic: name of a source topic; None for the format's, else the only one that is fed from outside.
        references: whether it may be a reference topic, too.

    Raises:
        ClickException: the topic is not there, the format is of another one, or there are several and none is
            named.
    """
    app = load_app()
    formats: dict[str, FileFormat] = app.file_formats
    named = None if form is None else formats.get(form)
    if topic is None and named is not None:
        topic = named.topic.get_topic_name()
    chosen = _chosen(app, topic, references)
    if named is not None:
        own = app.topology.sources.get(named.topic.get_topic_name())
        if own is None or own.record is not chosen.record:
            raise click.UsageError(
                f"--as {form} is a format of {app.settings.declared(named.topic.get_topic_name())}, not of "
                f"{app.settings.declared(chosen.topic)}"
            )
        return named, chosen
    if form is None:
        for one in formats.values():
            if one.topic.get_topic_name() == chosen.topic:
                return one, chosen
    return RecordFormat(chosen), chosen


def _chosen(app: Any, topic: str | None, references: bool) -> Source:
    if not references or topic is None:
        return chosen_source(app, topic)
    reference = named_reference(app, topic)
    if reference is not None:
        return as_source(reference)
    source = named_source(app, topic)
    if source is None:
        known = ", ".join(app.references) or "none"
        raise click.ClickException(
            f"{topic!r} is no source topic of this service; there are: {source_names(app)}; and reference "
            f"topics: {known}"
        )
    return source
