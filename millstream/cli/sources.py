"""The source topics of a service, as commands name them."""

from typing import Any

import click

from millstream.engine.source import Source
from millstream.tables.reference import Reference


def outside_sources(app: Any) -> list[Source]:
    """Return the source topics that are fed from outside: not by the service's own agents."""
    return [source for source in app.topology.sources.values() if not source.internal]


def named_source(app: Any, topic: str) -> Source | None:
    """Return the source topic of a declared name, or of a name in Kafka; None if there is none."""
    sources: dict[str, Source] = app.topology.sources
    return sources.get(app.settings.topic(topic)) or sources.get(topic)


def source_names(app: Any) -> str:
    """Return the declared names of the source topics, for messages; those that are fed from outside first."""
    sources: dict[str, Source] = app.topology.sources
    names = [
        app.settings.declared(one.topic) for one in sorted(sources.values(), key=lambda one: one.internal)
    ]
    return ", ".join(names) or "none"


def chosen_source(app: Any, topic: str | None) -> Source:
    """Return a source topic by its name, or without one the only one that is fed from outside.

    Raises:
        ClickException: there is no such topic, or there are several.
    """
    if topic is not None:
        source = named_source(app, topic)
        if source is not None:
            return source
        if named_reference(app, topic) is not None:
            raise click.ClickException(
                f"{topic!r} is a reference topic, whose values are no events: `millstream load --topic "
                f"{topic} FILE` fills it"
            )
        raise click.ClickException(
            f"{topic!r} is no source topic of this service; there are: {source_names(app)}"
        )
    outside = outside_sources(app)
    if not outside:
        raise click.ClickException(
            "this service has no source topic that is fed from outside: `app.source_topic(…)` declares one"
        )
    if len(outside) > 1:
        names = ", ".join(app.settings.declared(source.topic) for source in outside)
        raise click.UsageError(f"say which source topic, with --topic; there are: {names}")
    return outside[0]


def as_source(reference: Reference[Any]) -> Source:
    """Return a reference topic as what a file's values are for."""
    return Source(
        topic=reference.topic,
        record=reference.record,
        key=reference.key,
        decode=reference.decode,
        event_time=lambda _: 0.0,
        time_field="",
        dead_letters="",
    )


def named_reference(app: Any, topic: str) -> Reference[Any] | None:
    """Return the reference topic of a declared name, or of a name in Kafka; None if there is none."""
    references: dict[str, Reference[Any]] = app.references
    return references.get(topic) or next((one for one in references.values() if one.topic == topic), None)


def topic_in_kafka(app: Any, topic: str) -> str:
    """Return the name in Kafka of a topic, by its declared name or by that name.

    Raises:
        ClickException: the service declares no such topic.
    """
    for name in (app.settings.topic(topic), topic):
        if name in app.topic_specs:
            return str(name)
    known = ", ".join(app.settings.declared(name) for name in app.topic_specs) or "none"
    raise click.ClickException(f"this service declares no topic {topic!r}; there are: {known}")
