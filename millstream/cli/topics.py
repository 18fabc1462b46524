"""`millstream topics`."""

import click

from millstream.cli.common import run
from millstream.cli.service import load_app


@click.command()
def command() -> None:
    """Create the missing topics, and check all of them.

    \b
    A topic whose partitions, replicas, retention or compaction differ from the declaration is an error that
    says what to do; workers refuse to start, too.

    \b
    Examples:
      millstream topics
      MILLSTREAM_PARTITIONS=12 MILLSTREAM_REPLICATION=3 millstream topics
    """
    app = load_app()
    created = run(app.ensure_topics())
    if app.topic_specs and not created:
        click.echo("librdkafka's mock cluster creates each topic on first use")
        return
    for name, spec in app.topic_specs.items():
        state = "created" if created[name] else "ok"
        click.echo(f"{state:8} {name} ({spec.partitions} partitions, {spec.configs['cleanup.policy']})")
