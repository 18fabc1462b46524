"""`millstream kafka`: a Kafka for this machine."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from millstream.kafka import local as kafka
from millstream.kafka.local.lifecycle import data_size
from millstream.kafka.local.state import home_of
from millstream.settings import settings


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Show errors that the user can fix without a traceback."""
    try:
        yield
    except kafka.KafkaUnavailable as exc:
        raise click.ClickException(str(exc)) from exc


@click.group()
def command() -> None:
    """Start, stop, show or delete the local Kafka.

    \b
    It is the first of these that exists:
      1. KAFKA_BOOTSTRAP_SERVERS: an outside Kafka, used as it is
      2. Java 17+ with Maven:     Apache Kafka as a separate process
      3. Docker Compose:          Apache Kafka in a container
      4. confluent-kafka:         librdkafka's mock cluster, in memory, for a first look
    Its data is in the folder `kafka` of MILLSTREAM_STATE_DIR (.millstream).

    \b
    Examples:
      millstream kafka up
      millstream kafka status
      millstream kafka down
    """


@command.command()
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Loopback port; default: the former one or any free one."
)
def up(port: int | None) -> None:
    """Start Kafka and wait until it answers; a running one is kept.

    It keeps running after this command, the terminal and Ctrl-C, until `millstream kafka down`. Its JVM
    options are for a fast start; KAFKA_HEAP_OPTS and KAFKA_JVM_PERFORMANCE_OPTS replace them, as with Kafka's
    own scripts.

    \b
    Examples:
      millstream kafka up
      millstream kafka up --port 9092
      MILLSTREAM_STATE_DIR=/tmp/try millstream kafka up
      KAFKA_HEAP_OPTS=-Xmx1G millstream kafka up
    """
    with _plain_errors():
        kafka.up(settings(), port=port, echo=click.echo)


@command.command()
def down() -> None:
    """Stop the local Kafka and keep its data.

    \b
    Example:
      millstream kafka down
    """
    with _plain_errors():
        kafka.down(settings(), echo=click.echo)


@command.command()
def status() -> None:
    """Show which Kafka is used; exit with 0 if it is up, with 1 if not.

    \b
    Examples:
      millstream kafka status
      millstream kafka status >/dev/null || millstream kafka up
    """
    with _plain_errors():
        running = kafka.status(settings())
    if running is None:
        outside = settings().kafka_bootstrap_servers
        click.echo(
            f"Nothing listens at KAFKA_BOOTSTRAP_SERVERS={outside}."
            if outside
            else "Kafka is not running: start it with `millstream kafka up`."
        )
        sys.exit(1)
    click.echo(f"kind     {running.kind}")
    click.echo(f"address  {running.bootstrap}")
    if running.pid is not None:
        click.echo(f"pid      {running.pid}")
    click.echo(f"data     {_data(running.kind)}")


@command.command()
@click.option("--yes", is_flag=True, help="Do not ask, and stop Kafka first if it is running.")
def wipe(yes: bool) -> None:
    """Delete all data of the local Kafka: topics, records and consumer groups.

    Workers rebuild their tables from Kafka, so without this data they start empty. An outside Kafka is never
    touched; with Docker Compose all of the project's volumes are deleted.

    \b
    Examples:
      millstream kafka wipe
      millstream kafka wipe --yes
    """
    local = settings().model_copy(update={"kafka_bootstrap_servers": None})
    home = home_of(local)
    if not home.exists():
        click.echo(f"Nothing to delete: {home} does not exist.")
        return
    with _plain_errors():
        if kafka.status(local) is not None:
            if not yes:
                raise click.ClickException(
                    "Kafka is running: stop it first with `millstream kafka down`, or give --yes."
                )
            kafka.down(local, echo=lambda _message: None)
        if not yes:
            click.confirm(f"Delete all data of Kafka in {home} ({_megabytes()})?", abort=True)
        kafka.wipe(local)
    click.echo(f"Deleted {home}.")


def _data(kind: str) -> str:
    """Return the place and size of the data, for people."""
    if kind == "java":
        return f"{_megabytes()} in {home_of(settings())}"
    return {"compose": "in a volume of Docker", "mock": "in memory only"}.get(kind, "not ours")


def _megabytes() -> str:
    return f"{data_size(settings()) / 1e6:.1f} MB"
