"""`millstream load`: send events from files."""

import sys
from contextlib import nullcontext
from pathlib import Path

import click

from millstream.cli.common import kafka_address
from millstream.cli.files import (
    FormatCommand,
    files_argument,
    format_and_source,
    format_option,
    limit_option,
    topic_option,
)
from millstream.cli.service import load_app
from millstream.sources.batches import SendError
from millstream.sources.loading import Loading
from millstream.sources.record import Record
from millstream.sources.send import Due
from millstream.sources.terminal import run


def _speed(_: click.Context, __: click.Parameter, text: str) -> float | None:
    try:
        speed = None if text == "max" else float(text)
    except ValueError:
        speed = 0
    if speed is not None and not 0 < speed < float("inf"):
        raise click.BadParameter("`max` or a number above 0")
    return speed


def _pace(speed: float) -> Due:
    first: float | None = None

    def due(_: int, record: Record) -> float:
        nonlocal first
        # A bad line before the first event has no time, so it is sent at once.
        if first is None and record.event_time:
            first = record.event_time
        return (record.event_time - first) / speed if first is not None else 0.0

    return due


@click.command(cls=FormatCommand)
@files_argument
@format_option
@click.option(
    "--speed",
    callback=_speed,
    default="max",
    show_default=True,
    help="Factor of the event time's pace: 1 is the original pace, 60 an hour per minute; or max.",
)
@limit_option
@topic_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    files: tuple[Path, ...],
    form: str | None,
    speed: float | None,
    limit: int | None,
    topic: str | None,
) -> None:
    """Send the events of FILES in their order, one record per line.

    Files may be plain or gzip. For CSV or NDJSON formats, NDJSON is recognised by the file's name (.ndjson,
    .jsonl, .json) or its first line. Without a format of the service, a line of NDJSON is the value, and the
    columns of CSV are the fields of the topic's Record. An event with an id of its own, loaded twice, counts
    once, as long as the service keeps the id. Bad lines are counted and sent unchanged, so that they become
    dead letters.

    A reference topic is filled likewise, `--topic prices`: each row is the value of its key. Bad lines are
    not sent there.

    \b
    Examples:
      millstream load events.ndjson.gz
      millstream load --as retail retail.csv.gz
      millstream load --as access-log --speed 60 access.log
      millstream load --topic prices prices.csv
    """
    rows, source = format_and_source(form, topic, references=True)
    topic = source.topic
    # Nobody reads dead letters of a reference topic.
    is_event = topic in load_app().topology.sources
    loading = Loading(files, rows, source, limit, keep_bad=is_event)
    size = sum(file.stat().st_size for file in files)
    bar = (
        click.progressbar(length=size, label="load", file=sys.stderr)
        if sys.stderr.isatty()
        else nullcontext()
    )
    try:
        with bar as shown:

            def show(_: int) -> None:
                if shown is not None:
                    shown.update(loading.position() - shown.pos)

            sent = run(
                loading.records(),
                bootstrap=kafka_address(),
                topic=topic,
                due=None if speed is None else _pace(speed),
                on_progress=show,
            )
    except SendError as exc:
        raise click.ClickException(str(exc)) from None
    if loading.lines or loading.error is None:
        click.echo(loading.summary(sent, topic))
    if loading.error is not None:
        raise click.ClickException(str(loading.error))
    if loading.bad and not is_event:
        raise click.ClickException(
            f"{loading.bad.total():,} bad lines were left out; mend them and load them"
        )
    if sent.stopped:
        ctx.exit(130)
