"""`millstream produce`: send synthetic events."""

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import click
from click.core import ParameterSource

from millstream.cli.common import finite_rate, kafka_address
from millstream.cli.service import load_app
from millstream.cli.sources import chosen_source
from millstream.records import event_time
from millstream.sources.batches import SendError
from millstream.sources.generator import Generator
from millstream.sources.made_up import OPTIONS, MadeUpEvents
from millstream.sources.record import Record
from millstream.sources.terminal import run


class ProduceCommand(click.Command):
    """A command with the options of the service's generator in addition to its own."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the options; the generator's come last."""
        params = super().get_params(ctx)
        try:
            generator: Generator | None = load_app().generator
        except click.ClickException:
            return params
        return [*params, *(OPTIONS if generator is None else generator.options)]

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description of the command, and of the generator's events."""
        super().format_help_text(ctx, formatter)
        try:
            generator: Generator | None = load_app().generator
        except click.ClickException:
            return
        about = MADE_UP if generator is None else generator.about
        if about:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(about)


MADE_UP = (
    "This service has registered no generator: the values are made up from the Record's types and bounds."
)


def _generator(topic: str | None, own: dict[str, Any]) -> tuple[str, Callable[..., Iterator[Record]]]:
    """Return a topic in Kafka, and what makes up its records: its registered generator, else its Record.

    Args:
        topic: name of a source topic; None for the generator's, else the only one that is fed from outside.
        own: options of the generator, or those of made-up events.
    """
    app = load_app()
    generator: Generator | None = app.generator
    if generator is not None:
        of = generator.topic.get_topic_name()
        if topic is None or chosen_source(app, topic).topic == of:
            return of, partial(generator.records, **own)
    source = chosen_source(app, topic)
    ctx = click.get_current_context()
    known = {option.name: option for option in OPTIONS}
    given = {}
    for name, value in own.items():  # maybe of another topic's generator, with its defaults and types
        if ctx.get_parameter_source(name) is ParameterSource.DEFAULT:
            continue
        if name not in known:
            raise click.UsageError(f"--{name.replace('_', '-')} is an option of another topic's generator")
        given[name] = known[name].type_cast_value(ctx, value)
    return source.topic, partial(MadeUpEvents(source).records, **given)


def _moment(_: click.Context, __: click.Parameter, text: str | None) -> float:
    if text is None:
        return time.time()
    try:
        return event_time(text)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from None


@click.command(cls=ProduceCommand)
@click.option(
    "--rate",
    type=click.FloatRange(0),
    callback=finite_rate,
    default=100,
    show_default=True,
    help="Records per second; 0: as fast as possible.",
)
@click.option(
    "--count", type=click.IntRange(0), help="Number of records of all kinds.  [default: until Ctrl-C]"
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the random numbers.")
@click.option(
    "--start", callback=_moment, metavar="ISO-8601", help="Event time of the first event.  [default: now]"
)
@click.option(
    "--topic", help="Source topic.  [default: the generator's, or the only one that is fed from outside]"
)
def command(
    *, rate: float, count: int | None, seed: int, start: float, topic: str | None, **own: Any
) -> None:
    """Send synthetic events.

    The same options with the same --seed and --start send the same bytes in the same order. Without --start
    the times, and with them the ids, differ each time. Event time advances by 1/rate per record (by 0.1 ms
    with --rate 0).

    \b
    Examples:
      millstream produce                          100 records/s, until Ctrl-C
      millstream produce --rate 0 --count 1000000
      millstream produce --start 2026-01-01T00:00:00Z --count 5000
    """
    topic, generate = _generator(topic, own)
    records = generate(seed=seed, count=count, rate=rate, start=start)
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
