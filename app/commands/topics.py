"""`millstream topics`."""

import click

from app.commands.common import run


@click.command()
def command() -> None:
    """Create the topics that are missing, and check all of them.

    \b
    A topic that is there with other partitions, replicas, retention or compaction
    than declared is an error that says what to do; workers refuse to start too.

    \b
    Examples:
      millstream topics
      MILLSTREAM_PARTITIONS=12 MILLSTREAM_REPLICATION=3 millstream topics
    """
    from app.main import app  # noqa: PLC0415 (the whole service; not for --help)

    created = run(app.ensure_topics())
    if not created:
        click.echo("librdkafka's mock cluster makes each topic when it is first used")
        return
    for name, spec in app.topic_specs.items():
        state = "created" if created[name] else "ok"
        click.echo(f"{state:8} {name} ({spec.partitions} partitions, {spec.configs['cleanup.policy']})")
