"""The Faust app, with the engine beside it, and how topics and tables are declared for it."""

import asyncio
import logging
import operator
import socket
from datetime import timedelta
from typing import Any, TypeVar, cast

import faust
import uvloop
from aiokafka.structs import TopicPartition
from yarl import URL

from app.admin import TopicSpec
from app.application import App
from app.engine.engine import Engine
from app.engine.errors import DlqLimit
from app.engine.log import KafkaLog
from app.engine.reference import REPLACED_KEPT, Reference
from app.engine.source import Replica, Source, State, Wiring
from app.engine.transport import BatchSchema, Transport
from app.engine.worker import Worker
from app.kafka import KafkaUnavailable, bootstrap
from app.settings import settings
from app.web.gather import Gather, connect
from app.web.guard import MAX_BODY
from app.web.problems import problems
from models.record import Decoder, encode
from tables.log import Position, TooLargeError
from tables.replica import DELETIONS_KEPT, Changes, Table, stretches
from tables.replica import Replica as TableReplica
from tables.state import FencedError
from tables.state import State as TableState
from tables.store import Store

R = TypeVar("R", bound=faust.Record)

# A commit of all tables is one record batch; a fetch must be able to carry it.
COMMIT_BYTES = 8_000_000
# A dead letter or late event carries its headers and a reason too: more than what Kafka takes by default.
ASIDE_BYTES = 2_000_000
# What a batch makes of them must fit into a core's own cache: of 4,000 each event costs a tenth more.
CHUNK_RECORDS = 500
# Of the topics of ordinary Faust agents, at once.
POLLED_RECORDS = 4000

# It tells each fetch of metadata; what matters of it, we say ourselves.
logging.getLogger("aiokafka").setLevel(logging.WARNING)

# Faust makes its loop from the policy, after it has imported the app.
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


def _broker() -> str:
    """Return Kafka's address; where there is none yet, the worker says so when it starts."""
    try:
        return bootstrap(settings())
    except KafkaUnavailable:
        return "127.0.0.1:9092"


app = App(
    settings().app_id,
    env={},  # else Faust lets a stray PROCESSING_GUARANTEE or APP_WEB_TABLES_ENABLED overrule what is here
    broker=[URL(f"kafka://{address}") for address in _broker().split(",")],
    Worker=Worker,
    datadir=str(settings().data_dir / "faust"),
    topic_partitions=settings().partitions,
    topic_replication_factor=settings().replication,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    consumer_max_fetch_size=4 << 20,
    broker_max_poll_records=POLLED_RECORDS,
    broker_commit_interval=1.0,
    # Workers are static members of the group, known by machine and name: a restart moves no partition.
    # One that does not come back is missed after the session time-out, and replaced at the next heartbeat.
    consumer_group_instance_id=f"{settings().app_id}-{socket.gethostname()}-{settings().worker}",
    broker_session_timeout=settings().session_timeout.total_seconds(),
    broker_heartbeat_interval=min(3.0, settings().session_timeout.total_seconds() / 10),
    broker_rebalance_timeout=30.0,
    broker_request_timeout=90.0 + settings().session_timeout.total_seconds(),  # Faust wants it to be longer
    broker_max_poll_interval=2_000_000.0,  # a worker without partitions never polls
    producer_compression_type="zstd",
    producer_max_batch_size=COMMIT_BYTES,
    producer_max_request_size=COMMIT_BYTES + 1_000_000,
    producer_linger=0,
    table_standby_replicas=0,  # with them Faust brings an assignor that asserts that no URL ever changes
    stream_wait_empty=False,  # the engine drains by itself, for a bounded time
    stream_recovery_delay=0,
    web_host=settings().web_host,
    web_port=settings().web_port,
    web_bind=settings().web_host,
    web_router_enabled=False,
    web_tables_enabled=False,
    web_stats_enabled=False,
    web_graph_enabled=False,
    web_metrics_enabled=False,
    web_application_options={"middlewares": [problems], "client_max_size": MAX_BODY},  # and a guard; see Web
)


def _open_state(source: Source, number: int) -> State:
    topic = _state_log(source.topic)
    log = KafkaLog(
        lambda: app.engine.producer,
        app.kafka,
        TopicPartition(topic, number),
        app.topic_ids.get(topic, ""),
        TooLargeError,
    )
    return cast("State", TableState(log, _store(source, number), source.tables))


def _open_replica(source: Source, number: int) -> Replica:
    topic_id = app.topic_ids.get(_state_log(source.topic), "")
    return TableReplica(topic_id, _store(source, number), source.tables)


def _store(source: Source, number: int) -> Store:
    return Store(settings().data_dir / "tables" / f"{source.topic}-{number}")


app.engine = Engine(
    app,
    Wiring(
        open_state=_open_state,
        open_replica=_open_replica,
        log_topic=lambda source: _state_log(source.topic),
        stretches=stretches,
        new_changes=Changes,
        position=Position,
        encode=encode,
        fenced=FencedError,
        too_large=TooLargeError,
    ),
    chunk_records=CHUNK_RECORDS,
    standbys_wanted=settings().standbys,
    restore_seconds=settings().restore_deadline.total_seconds(),
    dlq_limit=DlqLimit(settings().dead_letter_run, settings().dead_letter_share),
)
app.gather = Gather(app.engine, lambda: connect(settings()))
app.transport = Transport(app.conf.broker, app)


def source_topic(
    name: str,
    record: type[faust.Record],
    *,
    key: str,
    dead_letters: str,
    event_time: str = "timestamp",
    late: str | None = None,
    out_of_order: timedelta = timedelta(0),
    idle: timedelta | None = None,
    behind: faust.Topic | None = None,
    copartitioned: bool = False,
    limits: bool = True,
) -> faust.Topic:
    """Declare a topic whose agent gets batches.

    Args:
        name: the topic's name.
        record: what its values are.
        key: the Record's field that is the key: order and deduplication hold among its equals.
        dead_letters: name of the topic for values that are no such record; it is declared with this one.
        event_time: the Record's field that is the event time.
        late: name of the topic for events that come too late for a table, declared likewise; needed if a
            table has a grace.
        out_of_order: how far an event time may lie behind the largest one before it: the watermark is so far
            behind.
        idle: time without events after which a partition's watermark moves with the wall clock; None for
            never.
        behind: the source topic whose agent sends the records of this one; its partitions tell how far they
            have come, and the watermark is the lowest of that. It needs an idle time, and so has this topic
            none.
        copartitioned: as for `output_topic`, if an agent sends to it.
        limits: whether large values, and those from the future, are dead letters; not where our own agents
            are the producers, whose input has been checked.
    """
    conf = settings()
    name = conf.topic(name)
    decoder = Decoder(
        record,
        max_bytes=conf.max_event_bytes if limits else COMMIT_BYTES,
        max_future=conf.max_future if limits else timedelta.max,
        time_field=event_time,
    )
    app.engine.sources[name] = Source(
        topic=name,
        key=key,
        decode=decoder.many,
        event_time=operator.attrgetter(event_time),
        dead_letters=conf.topic(dead_letters),
        late=conf.topic(late) if late else None,
        out_of_order=out_of_order.total_seconds(),
        idle=None if idle is None else idle.total_seconds(),
        behind=None if behind is None else behind.get_topic_name(),
    )
    if copartitioned:
        app.engine.copartitioned.add(name)
    _declare(name, _event_configs())
    _declare_state_log(name)
    for aside in filter(None, (dead_letters, late)):
        output_topic(aside, copartitioned=True, max_bytes=ASIDE_BYTES)
    return app.topic(name, value_type=record, schema=BatchSchema(value_type=record))


def output_topic(
    name: str,
    record: type[faust.Record] | None = None,
    *,
    copartitioned: bool = False,
    max_bytes: int | None = None,
) -> faust.Topic:
    """Declare a topic that agents send to.

    Args:
        name: the topic's name.
        record: what its values are.
        copartitioned: its records stay in the partition of the event they come from; for keys that are
            the source's.
        max_bytes: size of the largest batch of records, where it is not Kafka's default.
    """
    name = settings().topic(name)
    if copartitioned:
        app.engine.copartitioned.add(name)
    _declare(name, _event_configs() | ({"max.message.bytes": str(max_bytes)} if max_bytes else {}))
    return app.topic(name, value_type=record)


def reference_topic(name: str, record: type[R], *, key: str) -> Reference[R]:
    """Declare a compacted topic that each worker reads whole, for look-ups.

    Args:
        name: the topic's name; also its name for queries.
        record: what its values are.
        key: the Record's field that is the record's key.
    """
    conf = settings()
    decoder = Decoder(record, max_bytes=conf.max_event_bytes, max_future=timedelta.max, time_field=None)
    _declare(
        conf.topic(name),
        {
            "cleanup.policy": "compact",
            # What a replay looks up must still be there. Kafka counts from the record's time.
            "min.compaction.lag.ms": _milliseconds(REPLACED_KEPT),
            "message.timestamp.type": "LogAppendTime",
        },
    )
    return Reference(name, conf.topic(name), key=key, decode=decoder.many)


def refer(topic: faust.Topic, *references: Reference[Any]) -> None:
    """Let the agent of a source topic look reference topics up: exactly, through crashes."""
    app.engine.sources[topic.get_topic_name()].references.extend(references)


def keep(topic: faust.Topic, *tables: Table, keyed: bool = False) -> None:
    """Keep tables beside a source topic: what its agent changes in them is exact through crashes.

    Args:
        topic: the source topic.
        tables: the tables.
        keyed: whether their keys are the topic's, so that all of a key lies in one partition, the one that
            Kafka's own clients choose: a query of a key then asks its owner only.

    Raises:
        ValueError: a table tells late events, and the topic has no place for them.
    """
    source = app.engine.sources[topic.get_topic_name()]
    for table in tables:
        if getattr(table, "grace", None) is not None and source.late is None:
            raise ValueError(
                f"table {table.name!r} has a grace: give {source.topic} a topic for what comes after it, "
                "`source_topic(…, late=…)`"
            )
    source.tables.extend(tables)
    if keyed:
        source.keyed.update(table.name for table in tables)


def _declare_state_log(name: str) -> None:
    _declare(
        _state_log(name),
        {
            "cleanup.policy": "compact",
            "max.message.bytes": str(COMMIT_BYTES + 100_000),
            # A worker that was paused may still write: its successor must find what it has to repair.
            "min.compaction.lag.ms": "3600000",
            # A worker that comes back must still find what was deleted in the meantime.
            "delete.retention.ms": _milliseconds(DELETIONS_KEPT),
        },
    )


def _state_log(topic: str) -> str:
    return f"{topic}.{settings().app_id}.state"


def _event_configs() -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": _milliseconds(settings().retention),
        # Kafka's retention goes by record time: with event time there, old events would be deleted at once.
        "message.timestamp.type": "LogAppendTime",
    }


def _milliseconds(length: timedelta) -> str:
    return str(int(length.total_seconds() * 1000))


def _declare(name: str, configs: dict[str, Any]) -> None:
    conf = settings()
    configs["min.insync.replicas"] = str(conf.min_insync_replicas)
    app.topic_specs[name] = TopicSpec(name, conf.partitions, conf.replication, configs)
