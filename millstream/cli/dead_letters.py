"""`millstream dead-letters`."""

import re
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import NamedTuple

import click
from aiokafka import AIOKafkaProducer

from millstream.cli.common import kafka_address, line, run, text
from millstream.cli.service import load_app
from millstream.cli.sources import named_source, source_names
from millstream.engine.source import Source
from millstream.kafka.headers import ORIGIN, REPLAY_OF
from millstream.kafka.reading import records
from millstream.kafka.records import Unsent
from millstream.kafka.topics import topic_names
from millstream.records import Invalid

_ORIGIN = re.compile(r"(?P<topic>[A-Za-z0-9._-]+)/\d{1,9}/\d{1,18}")


def _topics(_: click.Context, __: click.Parameter, topic: str | None) -> list[str] | None:
    """Return the dead-letter topics that `--topic` means."""
    if topic is None:
        return None
    app, known = load_app(), _all_topics()
    source = named_source(app, topic)
    if source is not None:
        return [source.dead_letters]
    for name in (app.settings.topic(topic), topic):
        if name in known:
            return [name]
    names = ", ".join(app.settings.declared(name) for name in known)
    raise click.ClickException(
        f"{topic!r} is neither a source topic nor one of dead letters; there are: {source_names(app)}, "
        f"{names}"
    )


def _all_topics() -> list[str]:
    """Return the dead-letter topics of the service."""
    sources: dict[str, Source] = load_app().topology.sources
    if not sources:
        raise click.ClickException("this service has no source topics, so it has no dead letters")
    return list(dict.fromkeys(source.dead_letters for source in sources.values()))


def _origins(_: click.Context, __: click.Parameter, given: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the origins that are meant, by their source topics' names in Kafka."""
    return tuple(_origin(one) for one in ((given,) if isinstance(given, str) else given))


def _origin(given: str) -> str:
    found = _ORIGIN.fullmatch(given)
    if found is None:
        raise click.BadParameter(f"{given!r} is no origin: topic/partition/offset, as `list` shows it")
    source = named_source(load_app(), found["topic"])
    return given if source is None else source.topic + given.removeprefix(found["topic"])


def _topics_of(origins: tuple[str, ...]) -> list[str]:
    """Return the dead-letter topics of the origins' source topics; all, if one is of another topic."""
    sources: dict[str, Source] = load_app().topology.sources
    found = [sources.get(origin.rsplit("/", 2)[0]) for origin in origins]
    if None in found:
        return _all_topics()
    return list(dict.fromkeys(source.dead_letters for source in found if source is not None))


topics_option = click.option(
    "--topic",
    "topics",
    callback=_topics,
    help="A dead-letter topic, or its source topic.  [default: all of the service]",
)
code_option = click.option("--code", help="Only those with this code, such as not-json or missing-field.")


class DeadLetter(NamedTuple):
    """A record that was invalid, or that its agent refused; `origin` is its topic/partition/offset."""

    origin: str
    code: str
    reason: str
    time: datetime
    key: bytes | None
    value: bytes | None

    @property
    def source(self) -> tuple[str, int]:
        """Topic and partition of the origin."""
        topic, partition, _ = self.origin.rsplit("/", 2)
        return topic, int(partition)


async def read(address: str, topic: str) -> AsyncIterator[DeadLetter]:
    """Yield the dead letters of a topic, each origin once, in the order of the topic's partitions."""
    seen = set()
    async for record in records(address, topic):
        headers = {key: line(value) for key, value in record.headers}
        origin = headers.get(ORIGIN, "")
        if not _ORIGIN.fullmatch(origin):  # it is none of ours
            origin = f"{topic}/{record.partition}/{record.offset}"
        if origin not in seen:  # a crash may have repeated the record
            seen.add(origin)
            moment = headers.get("time", "")
            milliseconds = int(moment) if re.fullmatch(r"[0-9]{1,14}", moment) else record.timestamp
            yield DeadLetter(
                origin,
                headers.get("code", "?"),
                headers.get("reason", "?"),
                datetime.fromtimestamp(milliseconds / 1000, UTC),
                record.key,
                record.value,
            )


@click.group()
def command() -> None:
    """List, show and replay dead letters.

    \b
    Examples:
      millstream dead-letters list
      millstream dead-letters show activity.raw/0/17
      millstream dead-letters replay activity.raw/0/17 --value corrected.json
    """


@command.command("list")
@topics_option
@code_option
@click.option(
    "--limit", type=click.IntRange(0), default=50, show_default=True, help="Maximum number of dead letters."
)
def list_(topics: list[str] | None, code: str | None, limit: int) -> None:
    """List dead letters, newest last, and count them by code.

    \b
    Examples:
      millstream dead-letters list
      millstream dead-letters list --code missing-field --limit 5
    """
    topics = topics or _all_topics()
    found = run(_collect(kafka_address(), topics, lambda letter: code in (None, letter.code)))
    found.sort(key=lambda letter: letter.time)
    for letter in found[max(0, len(found) - limit) :]:
        click.echo(f"{letter.time:%Y-%m-%d %H:%M:%S}  {letter.origin}  {letter.code}: {letter.reason}")
    counts = Counter(letter.code for letter in found)
    click.echo(f"{len(found)} dead letters" + "".join(f", {n} {c}" for c, n in sorted(counts.items())))
    by_source = Counter(letter.source[0] for letter in found)
    if len(topics) > 1 and found:
        click.echo("  " + ", ".join(f"{count} of {source}" for source, count in sorted(by_source.items())))


@command.command()
@click.argument("origins", metavar="ORIGIN", callback=_origins)
@topics_option
def show(origins: tuple[str, ...], topics: list[str] | None) -> None:
    """Show the dead letter with the origin ORIGIN (topic/partition/offset), including its bytes.

    \b
    Example:
      millstream dead-letters show activity.raw/0/17
    """
    (origin,), topics = origins, topics or _topics_of(origins)
    letter, *_ = _found(
        run(_collect(kafka_address(), topics, lambda letter: letter.origin == origin)), origin
    )
    for name, value in (("origin", letter.origin), ("time", letter.time.isoformat()), ("code", letter.code)):
        click.echo(f"{name:8}{value}")
    click.echo(f"reason  {letter.reason}\nkey     {text(letter.key)}\n\n{text(letter.value)}")


@command.command()
@click.argument("origins", nargs=-1, callback=_origins)
@topics_option
@code_option
@click.option(
    "--value", "file", type=click.File("rb"), help="Send this file's bytes instead (one origin; - is stdin)."
)
@click.option(
    "--mend", metavar="COMMAND", help="Send the output of COMMAND, which gets each value on its stdin."
)
def replay(
    origins: tuple[str, ...],
    topics: list[str] | None,
    code: str | None,
    file: click.File | None,
    mend: str | None,
) -> None:
    """Send dead letters to their source topics again: those of ORIGINS, or all with --code.

    A replayed event keeps its first origin. Replaying an event twice does no harm within the deduplication's
    time to live.

    \b
    Examples:
      millstream dead-letters replay activity.raw/0/17 --value corrected.json
      millstream dead-letters replay --code wrong-type --mend 'jq -c ".amount |= tonumber"'
      millstream dead-letters replay --code too-large      # after MILLSTREAM_MAX_EVENT_BYTES was raised
    """
    if bool(origins) == bool(code):
        raise click.UsageError("give the origins to replay, or a --code.")
    if file and len(origins) != 1:
        raise click.UsageError("--value replaces one value: give one origin.")
    if file and mend:
        raise click.UsageError("--value and --mend are two ways to replace a value: give one.")
    topics = topics or (_topics_of(origins) if origins else _all_topics())
    address = kafka_address()
    wanted = set(origins)
    found = run(_collect(address, topics, lambda letter: letter.origin in wanted or letter.code == code))
    for origin in wanted:
        _found([letter for letter in found if letter.origin == origin], origin)
    sources = load_app().topology.sources
    if foreign := [letter.origin for letter in found if letter.source[0] not in sources]:
        raise click.ClickException(
            f"{foreign[0]} is of no source topic of this service, nothing was sent: give the origins"
        )
    values = [
        (letter, file.read() if file else _replacement(mend, letter))  # type: ignore[attr-defined] # click gives a file
        for letter in found
    ]
    run(_send(address, values))
    click.echo(f"{len(values)} dead letters replayed")


def _found(letters: list[DeadLetter], origin: str) -> list[DeadLetter]:
    if not letters:
        raise click.ClickException(
            f"no dead letter has the origin {origin}: see `millstream dead-letters list`"
        )
    return letters


def _replacement(command: str | None, letter: DeadLetter) -> bytes | None:
    if command is None:
        return letter.value
    done = subprocess.run(  # noqa: S602 (the user's own command line, with its pipes) # nosec B602
        command, shell=True, input=letter.value or b"", capture_output=True, check=False
    )
    if done.returncode:
        raise click.ClickException(
            f"{letter.origin}: {command!r} failed, nothing was sent: {text(done.stderr)}"
        )
    return done.stdout.strip()


async def _collect(address: str, topics: list[str], wanted: Callable[[DeadLetter], bool]) -> list[DeadLetter]:
    there = await topic_names(address)
    return [
        letter
        for topic in topics
        if topic in there  # a worker creates it
        async for letter in read(address, topic)
        if wanted(letter)
    ]


async def _send(address: str, values: list[tuple[DeadLetter, bytes | None]]) -> None:
    sources: dict[str, Source] = load_app().topology.sources
    producer = AIOKafkaProducer(
        bootstrap_servers=address, acks="all", enable_idempotence=True, max_request_size=2_000_000
    )
    await producer.start()
    try:
        for letter, value in values:
            topic, partition = letter.source
            key = letter.key if letter.key is not None else _key(value, sources[topic])
            await producer.send_and_wait(
                topic,
                value,
                key=key,
                partition=partition if letter.key is not None else None,
                headers=[(REPLAY_OF, letter.origin.encode())],
            )
    finally:
        await producer.stop()


def _key(value: bytes | None, source: Source) -> bytes | None:
    """Return the key that the event's producer would have set; None of a value that is still invalid."""
    (event,) = source.decode([Unsent(value, int(time.time() * 1000))], f"{source.topic}/0")
    return None if isinstance(event, Invalid) else str(getattr(event, source.key)).encode()
