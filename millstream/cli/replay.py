"""`millstream replay`: run the agents over files, without Kafka."""

import asyncio
from pathlib import Path
from typing import Any

import click

from millstream.app import App
from millstream.cli.files import (
    FormatCommand,
    files_argument,
    format_and_source,
    format_option,
    limit_option,
    topic_option,
)
from millstream.cli.service import load_app
from millstream.cli.sources import as_source, named_reference
from millstream.sources.loading import Loading
from millstream.sources.record_format import RecordFormat
from millstream.tables.reference import Reference
from millstream.testing.memory_engine import AgentFailedError


@click.command(cls=FormatCommand)
@files_argument
@format_option
@click.option(
    "--out",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the topics' records; created if it is missing; must be empty.",
)
@limit_option
@topic_option
@click.option(
    "--reference",
    "references",
    multiple=True,
    metavar="TOPIC=FILE",
    help="Values of a reference topic, CSV or NDJSON; without it the topic is empty.",
)
def command(
    *,
    files: tuple[Path, ...],
    form: str | None,
    topic: str | None,
    folder: Path,
    limit: int | None,
    references: tuple[str, ...],
) -> None:
    """Run the agents over the events of FILES, and write the records of their topics.

    The agents, tables and engine are the same as in a worker, without Kafka: order and duplicates depend on
    the same partitions (MILLSTREAM_PARTITIONS). All windows close at the end of the files. There is one file
    per topic, with one JSON object per line: partition, key, value (or value_base64), headers.

    \b
    Example:
      MILLSTREAM_AGENTS=activity,page_totals,users millstream replay --as retail --out replayed retail.csv.gz
    """
    from millstream.testing.replay import replay  # noqa: PLC0415 (as above)

    if folder.exists() and any(folder.iterdir()):
        raise click.ClickException(f"{folder} is not empty: give an empty folder, or one that does not exist")
    app = load_app()
    if topic is not None and named_reference(app, topic) is not None:
        raise click.ClickException(
            f"{topic} is a reference topic: `--reference {topic}=FILE` gives its values"
        )
    rows, source = format_and_source(form, topic)
    known: dict[str, list[tuple[bytes, bytes]]] = {}
    for text in references:
        reference, values = _reference(app, text)
        known.setdefault(reference.topic, []).extend(values)
    folder.mkdir(parents=True, exist_ok=True)
    loading = Loading(files, rows, source, limit)
    try:
        counts = asyncio.run(
            replay(
                app,
                loading.records(),
                source=source.topic,
                partitions=app.settings.partitions,
                folder=folder,
                references=known,
            )
        )
    except AgentFailedError as exc:
        raise click.ClickException(str(exc)) from None
    bad = loading.bad.total()
    click.echo("\n".join([f"read {loading.lines:,} lines, {bad:,} of them invalid", *loading.faults()]))
    for name, count in sorted(counts.items()):
        click.echo(f"  {count:,} records in {folder / name}.ndjson")
    if loading.error is not None:
        raise click.ClickException(str(loading.error))


def _reference(app: App, text: str) -> tuple[Reference[Any], list[tuple[bytes, bytes]]]:
    """Read a reference topic's values.

    Raises:
        ClickException: there is no such topic or file, or a line is not a valid value.
    """
    name, _, file = text.partition("=")
    if not file:
        raise click.UsageError(f"--reference takes TOPIC=FILE, not {text!r}")
    reference = named_reference(app, name)
    if reference is None:
        names = ", ".join(sorted(app.references)) or "none"
        raise click.ClickException(f"this service has no reference topic {name!r}; known are: {names}")
    source = as_source(reference)
    loading = Loading((Path(file),), RecordFormat(source), source, None, keep_bad=False)
    values = [(one.key or b"", one.value or b"") for one in loading.records()]
    if loading.error is not None:
        raise click.ClickException(str(loading.error))
    if loading.bad:
        raise click.ClickException(
            "\n".join([f"{loading.bad.total():,} values of {name} are bad:", *loading.first])
        )
    return reference, values
