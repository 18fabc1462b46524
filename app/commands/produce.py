"""`millstream produce`: made-up user activity."""

import sys
import time

import click

from app.commands.common import kafka_address
from app.settings import settings
from app.sources import synthetic
from app.sources.batches import SendError
from app.sources.terminal import run
from models.record import event_time

SHARE = click.FloatRange(0, 1)


def _moment(_: click.Context, __: click.Parameter, text: str | None) -> float:
    if text is None:
        return time.time()
    try:
        return event_time(text)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from None


@click.command()
@click.option(
    "--rate",
    type=click.FloatRange(0),
    default=100,
    show_default=True,
    help="Records per second; 0: as fast as possible.",
)
@click.option(
    "--count", type=click.IntRange(0), help="Number of records, all kinds together.  [default: until Ctrl-C]"
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the random numbers.")
@click.option(
    "--duplicates",
    type=SHARE,
    default=0.05,
    show_default=True,
    help="Share of the events sent again later, byte for byte.",
)
@click.option(
    "--invalid",
    type=SHARE,
    default=0.01,
    show_default=True,
    help="Share of the events whose value is broken in some way.",
)
@click.option(
    "--late",
    type=SHARE,
    default=0.02,
    show_default=True,
    help="Share of the events whose time lies minutes back.",
)
@click.option("--users", type=click.IntRange(1), default=1000, show_default=True, help="Number of users.")
@click.option("--pages", type=click.IntRange(1), default=200, show_default=True, help="Number of pages.")
@click.option(
    "--start", callback=_moment, metavar="ISO-8601", help="Event time of the first event.  [default: now]"
)
@click.option(
    "--topic",
    default=lambda: settings().topic("activity.raw"),
    show_default="activity.raw",
    help="Where the records go.",
)
def command(
    *,
    rate: float,
    count: int | None,
    seed: int,
    duplicates: float,
    invalid: float,
    late: float,
    users: int,
    pages: int,
    start: float,
    topic: str,
) -> None:
    """Send made-up user activity: visits with views, searches, purchases and refunds.

    Keyed by user. A few users and pages are much busier than the rest. The same options with the same
    --seed and --start send the same bytes in the same order; without --start the times, and with them the
    ids, are new each time. Event time advances by 1/rate a record (by 0.1 ms with --rate 0).

    \b
    Examples:
      millstream produce                          100 records/s, until Ctrl-C
      millstream produce --rate 0 --count 1000000
      millstream produce --start 2026-01-01T00:00:00Z --count 5000 --duplicates 0 --invalid 0
    """
    records = synthetic.events(
        seed,
        count=count,
        rate=rate,
        start=start,
        users=users,
        pages=pages,
        duplicates=duplicates,
        invalid=invalid,
        late=late,
    )
    shown = 0.0

    def show(taken: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= 1:
            shown = time.monotonic()
            click.echo(f"\r{taken:,} records, Ctrl-C stops ", nl=False, err=True)

    live = sys.stderr.isatty()
    try:
        sent = run(
            records,
            bootstrap=kafka_address(),
            topic=topic,
            due=(lambda number, _: number / rate) if rate else None,
            on_progress=show if live else None,
        )
    except SendError as exc:
        raise click.ClickException(str(exc)) from None
    if live:
        click.echo(err=True)
    pace = sent.records / sent.seconds
    click.echo(f"sent {sent.records:,} records to {topic} in {sent.seconds:.1f} s ({pace:,.0f}/s)")
