"""Helpers for several commands."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import click
from aiokafka.errors import KafkaError

from millstream.kafka.local import KafkaUnavailable, bootstrap
from millstream.kafka.topics import TopicError
from millstream.settings import settings

T = TypeVar("T")


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
    """Format bytes of a record: as text, with escapes for bytes that are not text."""
    return "-" if raw is None else raw.decode(errors="backslashreplace")
