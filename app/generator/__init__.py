"""Synthetic visitors of a shop, for `millstream produce` and `millstream run`."""

import click

from app import app, topics
from app.generator.synthetic import events
from millstream.sources.generator import Generator

_SHARE = click.FloatRange(0, 1)

app.add_generator(
    Generator(
        topics.activity_raw,
        events,
        options=(
            click.Option(
                ["--duplicates"],
                type=_SHARE,
                default=0.05,
                show_default=True,
                help="Share of the events sent again later, byte for byte.",
            ),
            click.Option(
                ["--invalid"],
                type=_SHARE,
                default=0.01,
                show_default=True,
                help="Share of the events whose value is broken in some way.",
            ),
            click.Option(
                ["--late"],
                type=_SHARE,
                default=0.02,
                show_default=True,
                help="Share of the events whose time is some minutes earlier.",
            ),
            click.Option(
                ["--users"],
                type=click.IntRange(1),
                default=1000,
                show_default=True,
                help="Number of users.",
            ),
            click.Option(
                ["--pages"],
                type=click.IntRange(1),
                default=200,
                show_default=True,
                help="Number of pages.",
            ),
        ),
        about="User activity: visits with views, searches, purchases and refunds, keyed by user. A few users "
        "and pages are much busier than the rest.",
    )
)
