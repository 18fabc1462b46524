"""`millstream add`: one more agent, table or topic of a service, one file a room."""

import builtins
import keyword
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import faust

from millstream.cli import declaring
from millstream.cli.rendering import imported_names, render, write
from millstream.cli.service import DEFAULT, app_name, load_app

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST = 60
TOPICS = Path("app") / "topics.py"


@click.group()
def command() -> None:
    """Write an agent, a table or a topic into this service; nothing is overwritten.

    \b
    Examples:
      millstream add agent payments
      millstream add table refunds --source payments.raw
      millstream add topic invoices --output
    """


@command.command()
@click.argument("name")
def agent(name: str) -> None:
    """Write an agent NAME, with its Record, tables, topic and test; all of it runs at once.

    \b
    Example:
      millstream add agent payments
    """
    app, topics = _service(name)
    dashed = name.replace("_", "-")
    values = {
        "name": name,
        "table": dashed,
        "source": f"{name}_raw",
        "topic": f"{dashed}.raw",
        "letters": f"{dashed}.dead-letters",
        "record": _record(name),
    }
    texts = render("agent", values)
    _refuse_taken(app, topics, values, tables=[f"{dashed}-seen", f"{dashed}-per-minute"])
    _refuse_imported(name, texts)
    changed = declaring.with_source(TOPICS.read_text(encoding="utf-8"), values)
    write(Path(), texts)
    declaring.replace(TOPICS, changed)
    _say(texts, [f"  {TOPICS}: {values['source']}"])
    if app.chosen_agents:
        click.echo(
            f"This service runs the agents that it names: add {name!r} to `millstream.App(…, agents=…)`"
        )
    click.echo(
        f"Next: give {values['record']} your events' fields in models/{name}.py; `make test` runs its test."
    )


@command.command()
@click.argument("name")
@click.option("--source", help="Topic whose events it takes.  [default: the service's only source topic]")
def table(name: str, source: str | None) -> None:
    """Write a table NAME, attached to a source topic.

    \b
    Examples:
      millstream add table refunds
      millstream add table refunds --source payments.raw
    """
    app, topics = _service(name)
    topic, variable = _source(app, topics, source)
    values = {"name": name, "table": name.replace("_", "-"), "topic": topic, "source": variable}
    texts = render("table", values)
    _refuse_taken(app, None, values, tables=[values["table"]])
    _refuse_imported(name, texts)
    write(Path(), texts)
    _say(texts, [])
    click.echo(
        f"Next: the agent of {topic} fills it: `from tables.{name} import {name}`, then in its commit "
        f"`{name}.open(commit).add(KEY, event, at=event.{app.topology.sources[topic].time_field})`."
    )


@command.command()
@click.argument("name")
@click.option("--source", is_flag=True, help="A topic that an agent reads.")
@click.option("--output", is_flag=True, help="A topic that agents send to.")
def topic(name: str, *, source: bool, output: bool) -> None:
    """Declare a topic NAME in app/topics.py, with a Record of its own.

    \b
    Examples:
      millstream add topic payments --source
      millstream add topic invoices --output
    """
    if source == output:
        raise click.UsageError(
            "say what it is: --source, which an agent reads, or --output, which it sends to"
        )
    app, topics = _service(name)
    dashed = name.replace("_", "-")
    values = {"name": name, "source": name, "topic": dashed, "record": _record(name)}
    if source:
        values["letters"] = f"{dashed}.dead-letters"
    texts = render("topic", values)
    _refuse_taken(app, topics, values, tables=[])
    declare = declaring.with_source if source else declaring.with_output
    changed = declare(TOPICS.read_text(encoding="utf-8"), values)
    write(Path(), texts)
    declaring.replace(TOPICS, changed)
    _say(texts, [f"  {TOPICS}: {name}"])
    used = f"`@app.agent(topics.{name})`" if source else f"`commit.send(topics.{name}, …)`"
    click.echo(f"Next: give {values['record']} its fields in models/{name}.py; an agent uses it: {used}.")


def _service(name: str) -> tuple[Any, ModuleType]:
    """Return the App in this folder and its module of topics, once the name is checked.

    Raises:
        ClickException: the name cannot be one of Python's, or this is no folder of a service.
    """
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise click.ClickException(
            f"{name!r} is no name: small letters and digits, with single _ between them, beginning with a "
            f"letter, at most {LONGEST}; for example `payments` or `page_views`"
        )
    if keyword.iskeyword(name) or hasattr(builtins, name):
        raise click.ClickException(f"{name!r} is a name of Python itself: choose another")
    if app_name() != DEFAULT or not TOPICS.is_file():
        raise click.ClickException(
            f"there is no {TOPICS} here: run this in the folder of a service as `millstream new` writes it"
        )
    app = load_app()
    topics = declaring.module_of_topics(os.fspath(TOPICS))
    if getattr(topics, "app", None) is not app:
        raise click.ClickException(f"{TOPICS} must have the App as `app`: `from app import app`")
    return app, topics


def _source(app: Any, topics: ModuleType, wanted: str | None) -> tuple[str, str]:
    """Return the name of a source topic without a prefix, and what it is called in app/topics.py."""
    sources = app.topology.sources
    known = {
        one.get_topic_name(): variable
        for variable, one in vars(topics).items()
        if isinstance(one, faust.TopicT) and one.get_topic_name() in sources
    }
    names = ", ".join(known) or "none"
    if wanted is None:
        if len(known) != 1:
            raise click.ClickException(f"say which source topic, with --source; there are: {names}")
        return next(iter(known.items()))
    for name, variable in known.items():
        if wanted in (name, variable) or app.settings.topic(wanted) == name:
            return name, variable
    raise click.ClickException(f"there is no source topic {wanted!r} in {TOPICS}; there are: {names}")


def _refuse_taken(
    app: Any, topics: ModuleType | None, values: Mapping[str, str], *, tables: list[str]
) -> None:
    """Refuse names that the service has.

    Raises:
        ClickException: naming what is taken.
    """
    taken = [f"a table {name!r}" for name in tables if name in app.queries.tables]
    if topics is not None:
        wanted = [values[one] for one in ("topic", "letters") if one in values]
        taken += [f"a topic {name!r}" for name in wanted if app.settings.topic(name) in app.topic_specs]
        wanted = [values["source"], values["record"]]
        taken += [f"{name!r} in {TOPICS}" for name in wanted if hasattr(topics, name)]
    if taken:
        raise click.ClickException(f"the service has {' and '.join(taken)} already: choose another name")


def _refuse_imported(name: str, texts: Mapping[str, str]) -> None:
    """Refuse a name that the new files import for something else."""
    for path, text in texts.items():
        if name in imported_names(text):
            raise click.ClickException(f"{name!r} is what {path} would import: choose another name")


def _record(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_")) + "Event"


def _say(texts: Mapping[str, str], more: list[str]) -> None:
    click.echo("\n".join([*(f"  {path}" for path in texts), *more]))
