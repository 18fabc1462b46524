"""`millrace replay`: files through the agents, without Kafka."""

import asyncio
from pathlib import Path

import click

from app.commands.files import files_argument, limit_option, mapping_option
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
def command(*, files: tuple[Path, ...], mapping: str, folder: Path, limit: int | None) -> None:
    """Run the agents over the events of FILES, and write what their topics would have got.

    The same agents, tables and engine as in a worker, without Kafka: order and duplicates go by the same
    partitions (MILLRACE_PARTITIONS). At the end of the files all windows close. One file a topic, one JSON
    object a line: partition, key, value (or value_base64), headers.

    \b
    Example:
      MILLRACE_AGENTS=activity,page_totals,users millrace replay --as retail --out replayed retail.csv.gz
    """
    from app.main import app  # noqa: PLC0415 (the whole service; not for --help)
    from app.memory.replay import replay  # noqa: PLC0415 (as above)

    if folder.exists() and any(folder.iterdir()):
        raise click.ClickException(f"{folder} is not empty: give a folder that is, or none that is there")
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
