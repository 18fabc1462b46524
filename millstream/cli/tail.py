"""`millstream tail`."""

import click

from millstream.cli.common import kafka_address, line, run, text
from millstream.cli.service import load_app
from millstream.cli.sources import topic_in_kafka
from millstream.kafka.reading import follow, records
from millstream.kafka.topics import topic_names


@click.command()
@click.argument("topic")
@click.option(
    "-n", "--lines", type=click.IntRange(0), default=10, show_default=True, help="Number of records to show."
)
@click.option("-f", "--follow", "following", is_flag=True, help="Also show new records, until Ctrl-C.")
@click.option("--headers", is_flag=True, help="Also show the headers.")
def command(topic: str, lines: int, following: bool, headers: bool) -> None:
    """Show the last records of TOPIC: partition/offset, key and value.

    TOPIC is a topic of this service, by its declared name, or any other that is in Kafka.

    \b
    Examples:
      millstream tail activity.enriched
      millstream tail -f activity.page-counts
      millstream tail --headers -n 3 activity.dead-letters
    """
    try:
        name = topic_in_kafka(load_app(), topic)
    except click.ClickException:
        if topic not in run(topic_names(kafka_address())):
            raise
        name = topic  # of somebody else
    run(_tail(kafka_address(), name, lines, following, headers))


async def _tail(address: str, topic: str, lines: int, following: bool, headers: bool) -> None:
    found = [record async for record in records(address, topic, last=lines)]
    for record in sorted(found, key=lambda r: (r.timestamp, r.partition, r.offset))[-lines:] if lines else []:
        _show(record, headers)
    if following:
        async for record in follow(address, topic):
            _show(record, headers)


def _show(record: object, headers: bool) -> None:
    place = f"{record.partition}/{record.offset}"  # type: ignore[attr-defined] # aiokafka has no types
    click.echo(f"{place}\t{line(record.key)}\t{text(record.value)}")  # type: ignore[attr-defined] # as above
    if headers:
        for key, value in record.headers:  # type: ignore[attr-defined] # as above
            click.echo(f"\t{line(key.encode())}: {line(value)}")
