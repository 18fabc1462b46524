"""Generators of synthetic events, which a service registers for `produce` and `run`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import click
import faust

from millstream.sources.record import Record


@dataclass(frozen=True)
class Generator:
    """Generates records for a source topic.

    Attributes:
        topic: the source topic.
        records: yields records. The arguments are `seed`, `count` (None: unlimited), `rate` (records per
            second of event time; 0: as fast as they are consumed), `start` (event time of the first record,
            seconds since the epoch), and the generator's own options by name.
        options: its own options for the command line.
        about: description of the events, for the command's help.
    """

    topic: faust.Topic
    records: Callable[..., Iterator[Record]]
    options: Sequence[click.Option] = ()
    about: str = ""
