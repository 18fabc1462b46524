"""What several commands need."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import click
from aiokafka.errors import KafkaError

from app.admin import TopicError
from app.kafka import KafkaUnavailable, bootstrap
from app.settings import settings

T = TypeVar("T")


def kafka_address() -> str:
    """Return Kafka's address, or end the command with what to do."""
    try:
        return bootstrap(settings())
    except KafkaUnavailable as exc:
        raise click.ClickException(str(exc)) from None


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine; its expected errors end the command with one line."""
    try:
        return asyncio.run(coroutine)
    except (KafkaUnavailable, TopicError, KafkaError) as exc:
        raise click.ClickException(str(exc)) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def text(raw: bytes | None) -> str:
    """Show bytes of a record: as text where they are, with escapes where they are not."""
    return "-" if raw is None else raw.decode(errors="backslashreplace")
