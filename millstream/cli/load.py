"""`millstream load`: send events from files."""

import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from millstream.cli.common import kafka_address
from millstream.cli.files import (
    FormatCommand,
    existing_files,
    format_and_source,
    format_option,
    limit_option,
    topic_option,
)
from millstream.cli.service import load_app
from millstream.cli.sources import named_reference
from millstream.sources.batches import SendError
from millstream.sources.loading import Loading
from millstream.sources.record import Record
from millstream.sources.send import Due, Sent
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


def _keys(_: click.Context, __: click.Parameter, keys: tuple[str, ...]) -> tuple[bytes, ...]:
    try:
        return tuple(key.encode() for key in keys)
    except UnicodeEncodeError:
        raise click.BadParameter("a key is text in UTF-8") from None


def _delete(topic: str, keys: tuple[bytes, ...]) -> None:
    app = load_app()
    reference = named_reference(app, topic)
    if reference is None:
        known = ", ".join(app.references) or "none"
        raise click.ClickException(
            f"{topic!r} is no reference topic, only these have keys to delete; there are: {known}"
        )
    sent = _send((Record(key, None, 0.0) for key in keys), bootstrap=kafka_address(), topic=reference.topic)
    click.echo(f"sent {sent.records:,} deletions to {reference.topic}")


def _send(records: Iterable[Record], **options: Any) -> Sent:
    try:
        return run(records, **options)
    except SendError as exc:
        raise click.ClickException(str(exc)) from None


@click.command(cls=FormatCommand)
@click.argument("files", nargs=-1, type=existing_files)
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
@click.option(
    "--delete",
    "deleted",
    multiple=True,
    metavar="KEY",
    callback=_keys,
    help="Delete this key of a reference topic, instead of sending FILES; may be repeated.",
)
@click.pass_context
def command(
    ctx: click.Context,
    *,
    files: tuple[Path, ...],
    form: str | None,
    speed: float | None,
    limit: int | None,
    topic: str | None,
    deleted: tuple[bytes, ...],
) -> None:
    """Send the events of FILES in their order, one record per line.

    Files may be plain or gzip. For CSV or NDJSON formats, NDJSON is recognised by the file's name (.ndjson,
    .jsonl, .json) or its first line. Without a format of the service, a line of NDJSON is the value, and the
    columns of CSV are the fields of the topic's Record. An event with an id of its own, loaded twice, counts
    once, as long as the service keeps the id. Bad lines are counted and sent unchanged, so that they become
    dead letters.

    A reference topic is filled likewise, `--topic prices`: each row is the value of its key. Bad lines are
    not sent there. `--delete KEY` deletes the value of a key.

    \b
    Examples:
      millstream load events.ndjson.gz
      millstream load --as retail retail.csv.gz
      millstream load --as access-log --speed 60 access.log
      millstream load --topic prices prices.csv
      millstream load --topic prices --delete bolt --delete nut
    """
    if deleted:
        if topic is None or files or form is not None or limit is not None or speed is not None:
            raise click.UsageError("--delete goes with --topic of a reference topic, and with nothing else")
        _delete(topic, deleted)
        return
    if not files:
        raise click.UsageError("give the FILES to load")
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
    with bar as shown:

        def show(_: int) -> None:
            if shown is not None:
                shown.update(loading.position() - shown.pos)

        sent = _send(
            loading.records(),
            bootstrap=kafka_address(),
            topic=topic,
            due=None if speed is None else _pace(speed),
            on_progress=show,
        )
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
