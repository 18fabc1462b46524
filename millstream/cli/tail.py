"""`millstream tail`."""

import click

from millstream.cli.common import kafka_address, run, text
from millstream.kafka.reading import follow, records


@click.command()
@click.argument("topic")
@click.option("-n", "--lines", default=10, show_default=True, help="Number of records to show.")
@click.option("-f", "--follow", "following", is_flag=True, help="Also show new records, until Ctrl-C.")
@click.option("--headers", is_flag=True, help="Also show the headers.")
def command(topic: str, lines: int, following: bool, headers: bool) -> None:
    """Show the last records of TOPIC: partition/offset, key and value.

    \b
    Examples:
      millstream tail activity.enriched
      millstream tail -f activity.page-counts
      millstream tail --headers -n 3 activity.dead-letters
    """
    run(_tail(kafka_address(), topic, lines, following, headers))


async def _tail(address: str, topic: str, lines: int, following: bool, headers: bool) -> None:
    found = [record async for record in records(address, topic, last=lines)]
    for record in sorted(found, key=lambda r: (r.timestamp, r.partition, r.offset))[-lines:] if lines else []:
        _show(record, headers)
    if following:
        async for record in follow(address, topic):
            _show(record, headers)


def _show(record: object, headers: bool) -> None:
    place = f"{record.partition}/{record.offset}"  # type: ignore[attr-defined] # aiokafka has no types
    click.echo(f"{place}\t{text(record.key)}\t{text(record.value)}")  # type: ignore[attr-defined] # as above
    if headers:
        for key, value in record.headers:  # type: ignore[attr-defined] # as above
            click.echo(f"\t{key}: {text(value)}")
