"""Helpers for several commands."""

import asyncio
import re
from collections.abc import Coroutine
from typing import Any, TypeVar

import click
from aiokafka.errors import KafkaError

from millstream.kafka.local import KafkaUnavailable, bootstrap
from millstream.kafka.topics import TopicError
from millstream.settings import settings

T = TypeVar("T")
# Records per second.
SLOWEST_RATE, FASTEST_RATE = 1e-6, 1e9

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SPACE = re.compile(r"[\t\n]")


def kafka_address() -> str:
    """Return Kafka's address; exit with an instruction if there is none."""
    try:
        return bootstrap(settings())
    except KafkaUnavailable as exc:
        raise click.ClickException(str(exc)) from None


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine; an expected error ends the command with one line."""
    try:
        return asyncio.run(coroutine)
    except (KafkaUnavailable, TopicError, KafkaError) as exc:
        raise click.ClickException(str(exc)) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def text(raw: bytes | None) -> str:
    """Format bytes of a record: as text, with escapes for bytes that are not text.

    Control characters are escaped, too, since a terminal would obey them; tabs and line ends are not.
    """
    return "-" if raw is None else _CONTROL.sub(_escaped, raw.decode(errors="backslashreplace"))


def line(raw: bytes | None) -> str:
    """Format bytes of a record as `text`, in one line and without tabs."""
    return _SPACE.sub(_escaped, text(raw))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def finite_rate(_: click.Context, __: click.Parameter, rate: float) -> float:
    """Check a number of records per second: 0, or one whose event times advance within the calendar."""
    if rate and not SLOWEST_RATE <= rate <= FASTEST_RATE:
        raise click.BadParameter(f"0, or a number from {SLOWEST_RATE:g} to {FASTEST_RATE:g}")
    return rate
