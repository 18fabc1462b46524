"""`millstream load`: events from files."""

import sys
from contextlib import nullcontext
from pathlib import Path

import click

from app.commands.common import kafka_address
from app.commands.files import files_argument, limit_option, mapping_option
from app.settings import settings
from app.sources.batches import SendError
from app.sources.loading import Loading
from app.sources.record import Record
from app.sources.send import Due
from app.sources.terminal import run


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
        # A bad line before the first event has no time: it leaves at once.
        if first is None and record.event_time:
            first = record.event_time
        return (record.event_time - first) / speed if first is not None else 0.0

    return due


@click.command()
@files_argument
@mapping_option
@click.option(
    "--speed",
    callback=_speed,
    default="max",
    show_default=True,
    help="Event time times this factor: 1 as it was, 60 an hour a minute; or max.",
)
@limit_option
@click.option(
    "--topic",
    default=lambda: settings().topic("activity.raw"),
    show_default="activity.raw",
    help="Where the records go.",
)
@click.pass_context
def command(
    ctx: click.Context,
    *,
    files: tuple[Path, ...],
    mapping: str,
    speed: float | None,
    limit: int | None,
    topic: str,
) -> None:
    """Send the events of FILES, one record a line, in their order.

    NDJSON, CSV or an access log, plain or gzip; NDJSON is told by its name (.ndjson, .jsonl, .json) or
    its first line. An equal line has the same event_id each time, so loading a file twice counts it once
    as long as the service remembers the id. Bad lines are counted and sent as they are, to end up as dead
    letters.

    \b
    activity    the Record's own fields: event_id, user_id, action, timestamp, ...
    retail      InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
    access-log  Apache's combined log

    \b
    Examples:
      millstream load events.ndjson.gz
      millstream load --as retail retail.csv.gz
      millstream load --as access-log --speed 60 access.log
    """
    loading = Loading(files, mapping, limit)
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
    if sent.stopped:
        ctx.exit(130)
