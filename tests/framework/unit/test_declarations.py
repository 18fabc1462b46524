"""Each wrong declaration is refused with a sentence that says what to write."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import faust
import pytest

import millstream
from millstream import DeclarationError, EventTime
from millstream.settings import Settings, SettingsError, read_settings, settings, unknown_variables
from millstream.tables.aggregates import Count
from millstream.tables.dedup import DedupTable
from millstream.tables.values import ValueTable
from millstream.tables.windows import WindowTable
from millstream.testing.driver import Driver
from millstream.testing.memory_engine import AgentFailedError

HOUR = timedelta(hours=1)


class Order(faust.Record):
    order_id: str
    user_id: str
    timestamp: EventTime
    amount: float = 0.0
    note: str | None = None


class Moment(faust.Record):
    id: str
    timestamp: datetime


def app() -> millstream.App:
    return millstream.App("wrong", agents=())


def source(made: millstream.App, record: Any = Order, **more: Any) -> faust.Topic:
    return made.source_topic("orders", record, **({"key": "user_id"} | more))


def two_tables(made: millstream.App) -> None:
    made.add_tables(source(made), ValueTable("n", value=Count("n")), ValueTable("n", value=Count("n")))


def table_and_reference(made: millstream.App) -> None:
    made.reference_topic("n", Order, key="user_id")
    made.add_tables(source(made), ValueTable("n", value=Count("n")))


def two_sources(made: millstream.App) -> None:
    source(made)
    made.output_topic("orders", Order)


def behind_without_idle(made: millstream.App) -> None:
    made.rekeyed_topic("by-amount", source(made), key="order_id")


def no_source(made: millstream.App) -> None:
    made.add_tables(made.output_topic("out", Order), ValueTable("n", value=Count("n")))


def two_agents_of_a_name(made: millstream.App) -> None:
    topic = source(made)

    async def orders(_: Any) -> None: ...

    made.agent(topic)(orders)
    made.agent(topic)(orders)


WRONG: list[tuple[Callable[[millstream.App], Any], str]] = [
    (
        lambda a: source(a, key="user"),
        "Order has no field 'user', which `key=` names; its fields are order_id,",
    ),
    (lambda a: source(a, key="amount"), "Order.amount cannot be the key, it is float"),
    (lambda a: source(a, key="note"), r"Order.note cannot be the key, it is str \| None"),
    (lambda a: source(a, event_time="time"), "Order has no field 'time', which `event_time=` names"),
    (lambda a: source(a, event_time="user_id"), "Order.user_id cannot be the event time, it is str: write"),
    (lambda a: source(a, Moment, key="id"), "it is datetime: write `timestamp: EventTime`"),
    (two_tables, "there are two tables of the name 'n', which would share their rows"),
    (table_and_reference, "there are two tables of the name 'n'"),
    (two_sources, "the topic orders is declared twice"),
    (two_agents_of_a_name, "two agents of orders have the name .*two_agents_of_a_name"),
    (behind_without_idle, "give that topic an `idle` time"),
    (no_source, "out is no source topic"),
    (lambda a: a.source_topic("my orders", Order, key="user_id"), "Kafka allows no topic 'my orders'"),
    (lambda a: a.add_tables(source(a), ValueTable("a/b", value=Count("n"))), "a table cannot be named 'a/b'"),
    (
        lambda a: a.add_tables(source(a), DedupTable("seen", ttl=HOUR)),
        "deduplicates by 'event_id', which Order has",
    ),
    (
        lambda a: a.add_tables(source(a), DedupTable("seen", ttl=HOUR, id="amount")),
        "deduplicates by Order.amount, which is float",
    ),
    (
        lambda a: a.add_tables(source(a), WindowTable("w", size=HOUR, value=Count("n"), grace=HOUR)),
        "table 'w' has a grace: give orders a topic",
    ),
    (
        lambda _: DedupTable("seen", ttl=timedelta(milliseconds=0.1)),
        "ttl of table 'seen': .* less than a second",
    ),
    (lambda _: millstream.App("my app"), "an App cannot have the id 'my app'"),
]


@pytest.mark.parametrize(("declare", "says"), WRONG, ids=[says for _, says in WRONG])
def test_what_cannot_work_is_refused_where_it_is_declared(declare: Callable[..., Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        declare(app())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MILLSTREAM_MAX_FUTURE", "-PT1H"),
        ("MILLSTREAM_RETENTION", "PT0S"),
        ("MILLSTREAM_APP_ID", "my app"),
        ("MILLSTREAM_TOPIC_PREFIX", "a/b"),
        ("MILLSTREAM_TOPIC_NAMES", "sales_topic"),
        ("MILLSTREAM_TOPIC_NAMES", "a=b c"),
    ],
)
def test_settings_out_of_range(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name}={value}"):
        read_settings(Settings)


def test_an_unknown_variable_is_named_with_the_nearest_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_PARTITION", "8")
    monkeypatch.setenv("MILLSTREAM_QX", "8")
    said = list(unknown_variables())
    assert "MILLSTREAM_PARTITION is no setting, it has no effect; did you mean MILLSTREAM_PARTITIONS?" in said
    assert "MILLSTREAM_QX is no setting, it has no effect" in said


@pytest.mark.parametrize("command", ["topics", "worker"])
def test_commands_and_the_worker_say_it(tmp_path: Path, command: str) -> None:
    loose = "seen = DedupTable"
    (tmp_path / "service.py").write_text(SERVICE.format(key="order_id").partition(loose)[0])
    ran = start(tmp_path, command, MILLSTREAM_PARTITION="8", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert ran.returncode != 0
    assert ran.stderr.count("MILLSTREAM_PARTITION is no setting, it has no effect; did you mean") == 1


def test_the_driver_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_PARTITION", "8")
    with pytest.warns(UserWarning, match="MILLSTREAM_PARTITION is no setting"), Driver(app()):
        pass


def test_names_of_topics_that_are_not_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    made = millstream.App("renamed", settings=Settings(topic_names="oders=sales"), agents=())
    source(made)
    with pytest.raises(
        DeclarationError, match=r"names oders, which the service does not declare; .* orders,"
    ):
        made.check()
    assert made.settings.declared("sales") == "oders"


def test_settings_may_be_given_and_topics_have_other_names() -> None:
    given = Settings(
        web_port=7001, topic_names="orders=sales_topic", topic_prefix="p-", kafka_bootstrap_servers="k:1"
    )
    made = millstream.App("given", settings=given, agents=())
    topic = source(made)
    assert (made.settings.web_port, made.settings.app_id, made.settings.kafka_bootstrap_servers) == (
        7001,
        "given",
        "k:1",
    )
    assert topic.get_topic_name() == "sales_topic"
    assert "p-orders.dead-letters" in made.topic_specs
    settings.cache_clear()


def test_two_apps_in_one_process() -> None:
    made = [millstream.App(name, agents=()) for name in ("one", "two")]
    for n, one in enumerate(made):
        topic = source(one)
        counts = ValueTable("orders-of", value=Count("n"))
        one.add_tables(topic, counts)

        @one.agent(topic)
        async def orders(batches: Any, counts: Any = counts, n: int = n) -> None:
            async for batch in batches:
                async with batch.commit() as commit:
                    opened = counts.open(commit)
                    for order in batch:
                        for _ in range(n + 1):
                            opened.add(order.user_id, 1, at=order.timestamp)

    with Driver(made[0]) as first, Driver(made[1]) as second:
        for driver in (first, second):
            driver.send("orders", {"order_id": "o", "user_id": "u", "timestamp": 1})
        answers = [driver.query("orders-of", "u") for driver in (first, second)]
    assert [answer and answer["value"] for answer in answers] == [{"n": 1}, {"n": 2}]


def test_a_table_that_is_opened_twice_or_for_another_topic_stops_at_once() -> None:
    for wrong, says in (
        ("twice", "'n' is opened twice in one commit"),
        ("loose", "'loose' is opened for orders"),
    ):
        made = app()
        topic = source(made)
        table, loose = ValueTable("n", value=Count("n")), ValueTable("loose", value=Count("n"))
        made.add_tables(topic, table)

        @made.agent(topic)
        async def orders(batches: Any, table: Any = table, loose: Any = loose, wrong: str = wrong) -> None:
            async for batch in batches:
                async with batch.commit() as commit:
                    table.open(commit)
                    (table if wrong == "twice" else loose).open(commit)

        with Driver(made) as driver, pytest.raises(AgentFailedError, match=says):
            driver.send("orders", {"order_id": "o", "user_id": "u", "timestamp": 1})


SERVICE = """
import millstream, faust
from datetime import timedelta
from millstream import EventTime
from millstream.tables.dedup import DedupTable

class Order(faust.Record):
    order_id: str
    timestamp: EventTime

app = millstream.App("loose")
orders = app.source_topic("orders", Order, key={key!r})
seen = DedupTable("seen", ttl=timedelta(hours=1), id="order_id")
"""


def start(folder: Path, command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the service in a folder, or its worker, until it ends."""
    millstream_topics = [sys.executable, "-m", "millstream", "-A", "service", "topics"]
    worker = [sys.executable, "-m", "faust", "-A", "service", "worker", "-l", "info"]
    return subprocess.run(
        millstream_topics if command == "topics" else worker,
        cwd=folder,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("order_id", "service.seen: attached to no source topic, so nothing would keep it: `app.add_tables"),
        ("id", "Order has no field 'id', which `key=` names; its fields are order_id, timestamp"),
    ],
)
@pytest.mark.parametrize("command", ["topics", "worker"])
def test_commands_and_the_worker_say_it_alike(tmp_path: Path, key: str, says: str, command: str) -> None:
    (tmp_path / "service.py").write_text(SERVICE.format(key=key))
    ran = start(tmp_path, command)
    assert ran.returncode != 0
    assert says in " ".join(ran.stderr.split())
    assert "Traceback" not in ran.stderr


def test_two_services_in_one_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("shop_a", "shop_b"):
        (tmp_path / name / "app").mkdir(parents=True)
        (tmp_path / name / "agents").mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "app" / "__init__.py").write_text(
            f"import millstream\napp = millstream.App('{name}')\n"
        )
        (tmp_path / name / "agents" / "__init__.py").touch()
        (tmp_path / name / "agents" / "mine.py").write_text(
            f"from {name}.app import app\napp.mine = '{name}'\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    from importlib import import_module  # noqa: PLC0415

    for name in ("shop_a", "shop_b"):
        made = import_module(f"{name}.app").app
        made.load_agents()
        assert made.mine == name
