"""Faust's transport with the engine's consumer and producer, and the schema of batched topics."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import faust
from faust.events import Event
from faust.transport.drivers import aiokafka as driver

from millstream.engine.consumer import Consumer
from millstream.kafka.producer import Producer


class Transport(driver.Transport):
    """Kafka, read in chunks."""

    Consumer = Consumer
    Producer = Producer


def topics_of(channel: Any) -> Sequence[str]:
    """Return the topics of an agent's channel; a channel in memory has none."""
    return getattr(channel, "topics", None) or ()


def topics_read(app: Any) -> set[str]:
    """Return the topics that the loaded agents of an app read; the partitions of others have no owner."""
    return {topic for agent in app.agents.values() for topic in topics_of(agent.channel)}


class BatchSchema(faust.Schema):
    """Schema of a topic that is read in batches: a message says that there is something to do."""

    def compile(self, app: Any, **_: Any) -> Callable[..., Awaitable[Event]]:
        """Return the function that turns a message into an event."""

        async def decode(message: Any, *, propagate: bool = False) -> Event:  # noqa: ARG001 (Faust's signature)
            return Event(app, None, message.value, {}, message)

        return decode
