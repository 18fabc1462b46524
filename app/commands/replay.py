"""`millstream replay`: files through the agents, without Kafka."""

import asyncio
from pathlib import Path
from typing import Any

import click
import msgspec

from app.commands.files import files_argument, limit_option, mapping_option
from app.engine.reference import Reference
from app.memory.pipeline import AgentFailedError
from app.settings import settings
from app.sources.loading import Loading


@click.command()
@files_argument
@mapping_option
@click.option(
    "--out",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for what the topics would have got; made if it is missing, and empty before.",
)
@limit_option
@click.option(
    "--reference",
    "references",
    multiple=True,
    metavar="TOPIC=FILE",
    help="A reference topic's values, one JSON object a line; without it the topic is empty.",
)
def command(
    *, files: tuple[Path, ...], mapping: str, folder: Path, limit: int | None, references: tuple[str, ...]
) -> None:
    """Run the agents over the events of FILES, and write what their topics would have got.

    The same agents, tables and engine as in a worker, without Kafka: order and duplicates go by the same
    partitions (MILLSTREAM_PARTITIONS). At the end of the files all windows close. One file a topic, one JSON
    object a line: partition, key, value (or value_base64), headers.

    \b
    Example:
      MILLSTREAM_AGENTS=activity,page_totals,users millstream replay --as retail --out replayed retail.csv.gz
    """
    from app.main import app  # noqa: PLC0415 (the whole service; not for --help)
    from app.memory.replay import replay  # noqa: PLC0415 (as above)

    if folder.exists() and any(folder.iterdir()):
        raise click.ClickException(f"{folder} is not empty: give a folder that is, or none that is there")
    known = {of.topic: values for of, values in map(_reference, references)}
    folder.mkdir(parents=True, exist_ok=True)
    loading = Loading(files, mapping, limit)
    try:
        counts = asyncio.run(
            replay(
                app,
                loading.records(),
                source=settings().topic("activity.raw"),
                partitions=settings().partitions,
                folder=folder,
                references=known,
            )
        )
    except AgentFailedError as exc:
        raise click.ClickException(str(exc)) from None
    bad = loading.bad.total()
    click.echo(f"read {loading.lines:,} lines, of which {bad:,} are no events")
    for topic, count in sorted(counts.items()):
        click.echo(f"  {count:,} records in {folder / topic}.ndjson")
    if loading.error is not None:
        raise click.ClickException(str(loading.error))


def _reference(text: str) -> tuple[Reference[Any], list[tuple[bytes, bytes]]]:
    """Read a reference topic's values.

    Raises:
        ClickException: there is no such topic or file, or a line is no such value.
    """
    from app.main import app  # noqa: PLC0415 (as above)

    name, _, file = text.partition("=")
    there = app.engine.references.declared
    if name not in there:
        names = ", ".join(sorted(there)) or "none"
        raise click.ClickException(f"the agents refer to no topic {name!r}; there are: {names}")
    try:
        lines = Path(file).read_bytes().splitlines()
    except OSError as exc:
        raise click.ClickException(f"{file}: {exc.strerror}") from None
    key, values = there[name].key, []
    for number, line in enumerate(lines, 1):
        try:
            values.append((str(msgspec.json.decode(line)[key]).encode(), line))
        except (msgspec.DecodeError, KeyError, TypeError):
            raise click.ClickException(f"{file}: line {number} is no object with a {key!r}") from None
    return there[name], values
