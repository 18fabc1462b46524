"""The source topics of a service, as commands name them."""

from typing import Any

import click

from millstream.engine.source import Source


def outside_sources(app: Any) -> list[Source]:
    """Return the source topics that are fed from outside: not by the service's own agents."""
    return [source for source in app.topology.sources.values() if not source.internal]


def declared_name(app: Any, topic: str) -> str:
    """Return a topic's declared name: without the prefix of this service's topics."""
    return topic.removeprefix(app.settings.topic_prefix)


def named_source(app: Any, topic: str) -> Source | None:
    """Return the source topic of a declared name, or of a name in Kafka; None if there is none."""
    sources: dict[str, Source] = app.topology.sources
    return sources.get(app.settings.topic(topic)) or sources.get(topic)


def chosen_source(app: Any, topic: str | None) -> Source:
    """Return a source topic by its name, or without one the only one that is fed from outside.

    Raises:
        ClickException: there is no such topic, or there are several.
    """
    outside = outside_sources(app)
    names = ", ".join(declared_name(app, source.topic) for source in outside) or "none"
    if topic is not None:
        source = named_source(app, topic)
        if source is None:
            raise click.ClickException(f"{topic!r} is no source topic of this service; there are: {names}")
        return source
    if not outside:
        raise click.ClickException("this service has no source topic: `app.source_topic(…)` declares one")
    if len(outside) > 1:
        raise click.UsageError(f"say which source topic, with --topic; there are: {names}")
    return outside[0]
