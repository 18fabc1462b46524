"""`millstream dead-letters`."""

import subprocess
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import NamedTuple

import click
import msgspec
from aiokafka import AIOKafkaProducer

from app.commands.common import kafka_address, run, text
from app.engine.out import ORIGIN, REPLAY_OF
from app.reading import records
from app.settings import settings

topic_option = click.option(
    "--topic",
    default=lambda: settings().topic("activity.dead-letters"),
    show_default="activity.dead-letters",
    help="The dead-letter topic.",
)
code_option = click.option("--code", help="Only those with this code, such as not-json or missing-field.")


class DeadLetter(NamedTuple):
    """A record that was no event; `origin` is topic/partition/offset of where it came from."""

    origin: str
    code: str
    reason: str
    time: datetime
    key: bytes | None
    value: bytes | None

    @property
    def source(self) -> tuple[str, int]:
        """Topic and partition of where it came from."""
        topic, partition, _ = self.origin.rsplit("/", 2)
        return topic, int(partition)


async def read(address: str, topic: str) -> AsyncIterator[DeadLetter]:
    """Yield the dead letters of a topic, each origin once, in the order of their origins' partitions."""
    seen = set()
    async for record in records(address, topic):
        headers = {key: value.decode(errors="replace") for key, value in record.headers}
        origin = headers.get(ORIGIN, f"{topic}/{record.partition}/{record.offset}")
        if origin not in seen:  # a crash may have repeated it
            seen.add(origin)
            time = datetime.fromtimestamp(int(headers.get("time", record.timestamp)) / 1000, UTC)
            yield DeadLetter(
                origin, headers.get("code", "?"), headers.get("reason", "?"), time, record.key, record.value
            )


@click.group()
def command() -> None:
    """Look at records that were no events, and send them again.

    \b
    Examples:
      millstream dead-letters list
      millstream dead-letters show activity.raw/0/17
      millstream dead-letters replay activity.raw/0/17 --value mended.json
    """


@command.command("list")
@topic_option
@code_option
@click.option("--limit", default=50, show_default=True, help="How many to show.")
def list_(topic: str, code: str | None, limit: int) -> None:
    """List dead letters, the newest last, and count them by code.

    \b
    Examples:
      millstream dead-letters list
      millstream dead-letters list --code missing-field --limit 5
    """
    found = run(_collect(kafka_address(), topic, lambda letter: code in (None, letter.code)))
    for letter in sorted(found, key=lambda letter: letter.time)[-limit:]:
        click.echo(f"{letter.time:%Y-%m-%d %H:%M:%S}  {letter.origin}  {letter.code}: {letter.reason}")
    counts: dict[str, int] = {}
    for letter in found:
        counts[letter.code] = counts.get(letter.code, 0) + 1
    click.echo(f"{len(found)} dead letters" + "".join(f", {n} {c}" for c, n in sorted(counts.items())))


@command.command()
@click.argument("origin")
@topic_option
def show(origin: str, topic: str) -> None:
    """Show the dead letter that came from ORIGIN (topic/partition/offset), with its bytes.

    \b
    Example:
      millstream dead-letters show activity.raw/0/17
    """
    (letter,) = _found(run(_collect(kafka_address(), topic, lambda letter: letter.origin == origin)), origin)
    for name, value in (("origin", letter.origin), ("time", letter.time.isoformat()), ("code", letter.code)):
        click.echo(f"{name:8}{value}")
    click.echo(f"reason  {letter.reason}\nkey     {text(letter.key)}\n\n{text(letter.value)}")


@command.command()
@click.argument("origins", nargs=-1)
@topic_option
@code_option
@click.option(
    "--value", "file", type=click.File("rb"), help="Send this file's bytes instead (one origin; - is stdin)."
)
@click.option(
    "--mend", metavar="COMMAND", help="Send what COMMAND writes, given each value on its standard input."
)
def replay(
    origins: tuple[str, ...], topic: str, code: str | None, file: click.File | None, mend: str | None
) -> None:
    """Send dead letters again to where they came from: those of ORIGINS, or all with --code.

    A replayed event keeps its first origin. Replaying one twice does no harm within the deduplication's
    time to live.

    \b
    Examples:
      millstream dead-letters replay activity.raw/0/17 --value mended.json
      millstream dead-letters replay --code wrong-type --mend 'jq -c ".amount |= tonumber"'
      millstream dead-letters replay --code too-large      # after MILLSTREAM_MAX_EVENT_BYTES was raised
    """
    if bool(origins) == bool(code):
        raise click.UsageError("name the origins to replay, or a --code.")
    if file and len(origins) != 1:
        raise click.UsageError("--value mends one dead letter: name its origin.")
    address = kafka_address()
    wanted = set(origins)
    found = run(_collect(address, topic, lambda letter: letter.origin in wanted or letter.code == code))
    for origin in wanted:
        _found([letter for letter in found if letter.origin == origin], origin)
    mended = [
        (letter, file.read() if file else _mended(mend, letter))  # type: ignore[attr-defined] # click gives a file
        for letter in found
    ]
    run(_send(address, mended))
    click.echo(f"{len(mended)} dead letters sent again")


def _found(letters: list[DeadLetter], origin: str) -> list[DeadLetter]:
    if not letters:
        raise click.ClickException(
            f"no dead letter has the origin {origin}: see `millstream dead-letters list`"
        )
    return letters


def _mended(command: str | None, letter: DeadLetter) -> bytes | None:
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


async def _collect(address: str, topic: str, wanted: Callable[[DeadLetter], bool]) -> list[DeadLetter]:
    return [letter async for letter in read(address, topic) if wanted(letter)]


async def _send(address: str, mended: list[tuple[DeadLetter, bytes | None]]) -> None:
    from app.main import app  # noqa: PLC0415 (the whole service; not for --help)

    producer = AIOKafkaProducer(
        bootstrap_servers=address, acks="all", enable_idempotence=True, max_request_size=2_000_000
    )
    await producer.start()
    try:
        for letter, value in mended:
            topic, partition = letter.source
            key = letter.key
            if key is None and topic in app.engine.sources:
                key = _key(value, app.engine.sources[topic].key)
            await producer.send_and_wait(
                topic,
                value,
                key=key,
                partition=partition if letter.key is not None else None,
                headers=[(REPLAY_OF, letter.origin.encode())],
            )
    finally:
        await producer.stop()


def _key(value: bytes | None, field: str) -> bytes | None:
    """Return the key that an event's producer would have given it."""
    try:
        found = msgspec.json.decode(value or b"").get(field)
    except (msgspec.DecodeError, AttributeError):
        return None
    return found.encode() if isinstance(found, str) else None
