"""`millstream lateness`: how far events come out of order."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from math import ceil
from pathlib import Path

import click

from millstream.cli.common import kafka_address, run
from millstream.cli.files import FormatCommand, format_and_source, format_option, limit_option, topic_option
from millstream.cli.service import load_app
from millstream.cli.sources import named_source, source_names
from millstream.kafka.partitioner import partition_for
from millstream.kafka.reading import records
from millstream.records import Invalid
from millstream.settings import settings
from millstream.sources.loading import Loading

QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)
ALLOWED = (0, 1, 5, 30, 60, 300, 1800, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600)


def behind(events: Iterable[tuple[int, float]]) -> Iterator[float]:
    """Yield for each event how far it is behind the newest earlier event of its partition, in seconds.

    Args:
        events: partition and event time of each event, in order.
    """
    newest: dict[int, float] = {}
    for partition, at in events:
        before = newest.get(partition, at)
        yield max(before - at, 0.0)
        newest[partition] = max(before, at)


@click.command(cls=FormatCommand)
@click.argument("source")
@format_option
@limit_option
@topic_option
def command(*, source: str, form: str | None, limit: int | None, topic: str | None) -> None:
    """Measure how far the events of SOURCE come out of order: a file of events, or a source topic.

    The result helps to choose `out_of_order` and `grace` of windows (docs/time.md). It measures how far an
    event is behind the newest earlier event of its partition, by event time.

    \b
    Examples:
      millstream lateness --as access-log access.log
      millstream lateness activity.raw
    """
    if Path(source).is_file():
        loading = Loading((Path(source),), *format_and_source(form, topic), limit)
        found = sorted(behind(_of_file(loading)))
        if loading.bad:
            click.echo(
                "\n".join([f"left out, {loading.bad.total():,} bad lines:", *loading.faults()]), err=True
            )
        if loading.error is not None:
            raise click.ClickException(str(loading.error))
    else:
        found = sorted(behind(run(_of_topic(source, limit))))
    if not found:
        raise click.ClickException(f"{source} has no events")
    for line in report(found):
        click.echo(line)


def _of_file(loading: Loading) -> Iterator[tuple[int, float]]:
    partitions = settings().partitions
    for record in loading.records():
        if record.key is not None:  # a bad line has no key
            yield partition_for(record.key, partitions), record.event_time


async def _of_topic(topic: str, limit: int | None) -> list[tuple[int, float]]:
    app = load_app()
    known = named_source(app, topic)
    if known is None:
        raise click.ClickException(
            f"{topic} is neither a file nor a source topic; the latter are: {source_names(app)}"
        )
    events = []
    async for record in records(kafka_address(), known.topic):
        (event,) = known.decode([record], f"{known.topic}/{record.partition}")
        if not isinstance(event, Invalid):
            events.append((record.partition, known.event_time(event)))
        if len(events) == limit:
            break
    return events


def report(found: list[float]) -> Iterator[str]:
    """Yield the lines of the report on how far events are behind.

    Args:
        found: seconds, ascending.
    """
    count = len(found)
    yield f"{count:,} events; behind the newest event of their partition:"
    for share in QUANTILES:
        name = "at most" if share == 1 else f"{share:.4g} of them at most"
        yield f"  {name:>22}  {_length(found[ceil(share * count) - 1])}"
    yield "maximum number of late events, by the sum of out_of_order and grace:"
    for seconds in ALLOWED:
        late = count - (bisect_left(found, seconds) if seconds else bisect_right(found, 0))
        yield f"  {_length(seconds):>22}  {late:,} ({late / count:.2%})"
        if not late:
            return


def _length(seconds: float) -> str:
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"
