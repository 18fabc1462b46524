"""What a service declares on its App: topics, tables, reference topics, panels, file formats, a generator."""

import operator
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

import faust

from millstream.engine.engine import Engine
from millstream.engine.source import Source
from millstream.engine.topology import Topology
from millstream.engine.transport import BatchSchema
from millstream.faust_options import COMMIT_BYTES
from millstream.kafka.topics import TopicSpec
from millstream.observability.metrics import Metric
from millstream.serde.json import Decoder
from millstream.settings import Settings
from millstream.sources.formats import FileFormat
from millstream.sources.generator import Generator
from millstream.state.replica import DELETIONS_KEPT, Table
from millstream.state.storage import log_topic
from millstream.tables.reference import REPLACED_KEPT, Reference
from millstream.web.panels import Panel

R = TypeVar("R", bound=faust.Record)

# A dead letter or late event carries its headers and a reason too: more than Kafka takes by default.
ASIDE_BYTES = 2_000_000

MetricSamples = Callable[[Engine], Iterable[tuple[Metric, float]]]


class Declarations:
    """The declaring half of an App.

    Attributes:
        settings: where topics lie, and their limits.
        topology: the source topics, their tables, and how their agents fail.
        topic_specs: all topics as they are declared, by name.
        references: the reference topics, by name without a prefix, whether or not an agent looks them up.
        panels: what the live page draws of tables, in the order in which they were added.
        file_formats: the formats of files that `load` and `replay` read, by name.
        generator: makes up events for `produce` and `run`; None if the service has none.
        metrics: what the service adds to `/metrics`.
        metric_samples: reads the samples of these.
    """

    settings: Settings
    topology: Topology
    topic_specs: dict[str, TopicSpec]
    references: dict[str, Reference[Any]]
    panels: list[Panel]
    file_formats: dict[str, FileFormat]
    generator: Generator | None
    metrics: list[Metric]
    metric_samples: list[MetricSamples]
    topic: Callable[..., faust.Topic]  # Faust's

    def _declare_nothing(self) -> None:
        self.topology = Topology()
        self.topic_specs = {}
        self.references = {}
        self.panels = []
        self.file_formats = {}
        self.generator = None
        self.metrics = []
        self.metric_samples = []

    def source_topic(
        self,
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
            record: the Record that its values are.
            key: the Record's field that is the key. Order and deduplication hold among events of one key.
            dead_letters: name of the topic for invalid records; it is declared with this one.
            event_time: the Record's field that is the event time.
            late: name of the topic for events that come too late for a table, declared likewise; needed if a
                table has a grace.
            out_of_order: how far an event time may lie behind the largest one before it. The watermark is so
                far behind.
            idle: time without events after which a partition's watermark moves with the wall clock; None for
                never.
            behind: the source topic whose agent sends the records of this one. Its partitions report their
                watermarks, and the watermark is the lowest of them. That source needs an idle time, and this
                one must have none.
            copartitioned: as for `output_topic`, if an agent sends to it.
            limits: whether large values, and those from the future, are dead letters. False where only our
                own agents produce, whose input has been checked.
        """
        name = self.settings.topic(name)
        decoder = Decoder(
            record,
            max_bytes=self.settings.max_event_bytes if limits else COMMIT_BYTES,
            max_future=self.settings.max_future if limits else timedelta.max,
            time_field=event_time,
        )
        self.topology.sources[name] = Source(
            topic=name,
            record=record,
            key=key,
            decode=decoder.many,
            event_time=operator.attrgetter(event_time),
            time_field=event_time,
            dead_letters=self.settings.topic(dead_letters),
            late=self.settings.topic(late) if late else None,
            out_of_order=out_of_order.total_seconds(),
            idle=None if idle is None else idle.total_seconds(),
            behind=None if behind is None else behind.get_topic_name(),
        )
        if copartitioned:
            self.topology.copartitioned.add(name)
        self._declare(name, self._event_configs())
        self._declare_state_log(name)
        for aside in filter(None, (dead_letters, late)):
            self.output_topic(aside, copartitioned=True, max_bytes=ASIDE_BYTES)
        return self.topic(name, value_type=record, schema=BatchSchema(value_type=record))

    def output_topic(
        self,
        name: str,
        record: type[faust.Record] | None = None,
        *,
        copartitioned: bool = False,
        max_bytes: int | None = None,
    ) -> faust.Topic:
        """Declare a topic that agents send to.

        Args:
            name: the topic's name.
            record: the Record that its values are.
            copartitioned: whether its records stay in the partition of the event that they come from; for
                keys that are the source's.
            max_bytes: size of the largest batch of records; None for Kafka's default.
        """
        name = self.settings.topic(name)
        if copartitioned:
            self.topology.copartitioned.add(name)
        limit = {"max.message.bytes": str(max_bytes)} if max_bytes else {}
        self._declare(name, self._event_configs() | limit)
        return self.topic(name, value_type=record)

    def reference_topic(self, name: str, record: type[R], *, key: str) -> Reference[R]:
        """Declare a compacted topic that each worker reads whole, for look-ups.

        Args:
            name: the topic's name; also its name for queries.
            record: the Record that its values are.
            key: the Record's field that is the record's key.
        """
        conf = self.settings
        decoder = Decoder(record, max_bytes=conf.max_event_bytes, max_future=timedelta.max, time_field=None)
        self._declare(
            conf.topic(name),
            {
                "cleanup.policy": "compact",
                # What a replay looks up must still be there. Kafka counts from the record's time.
                "min.compaction.lag.ms": _milliseconds(REPLACED_KEPT),
                "message.timestamp.type": "LogAppendTime",
            },
        )
        reference = Reference[R](name, conf.topic(name), record=record, key=key, decode=decoder.many)
        self.references[name] = reference
        return reference

    def add_references(self, topic: faust.Topic, *references: Reference[Any]) -> None:
        """Attach reference topics to a source topic: its agent may look them up, exactly through crashes."""
        self.topology.sources[topic.get_topic_name()].references.extend(references)

    def add_tables(self, topic: faust.Topic, *tables: Table, keyed: bool = False) -> None:
        """Attach tables to a source topic: what its agent changes in them is exact through crashes.

        Args:
            topic: the source topic.
            tables: the tables.
            keyed: whether their keys are the topic's, so that all of a key lies in one partition, which
                Kafka's own clients choose. A query of a key then asks its owner only.

        Raises:
            ValueError: a table reports late events, and the topic has no place for them.
        """
        source = self.topology.sources[topic.get_topic_name()]
        for table in tables:
            if getattr(table, "grace", None) is not None and source.late is None:
                raise ValueError(
                    f"table {table.name!r} has a grace: give {source.topic} a topic for what comes after it, "
                    "`source_topic(…, late=…)`"
                )
        source.tables.extend(tables)
        if keyed:
            source.keyed.update(table.name for table in tables)

    def add_panels(self, *panels: Panel) -> None:
        """Show panels on the live page."""
        self.panels.extend(panels)

    def add_file_formats(self, *formats: FileFormat) -> None:
        """Let `load`, `replay` and `lateness` read files of these formats; the first one is the default."""
        self.file_formats.update((form.name, form) for form in formats)

    def add_generator(self, generator: Generator) -> None:
        """Let `produce` and `run` make up events."""
        self.generator = generator

    def add_metrics(self, metrics: Iterable[Metric], samples: MetricSamples) -> None:
        """Add metrics of the service to `/metrics`.

        Args:
            metrics: what they are.
            samples: reads their values, at each scrape.
        """
        self.metrics.extend(metrics)
        self.metric_samples.append(samples)

    def state_log(self, topic: str) -> str:
        """Return the name of a source topic's state log."""
        return log_topic(topic, self.settings.app_id)

    def _declare_state_log(self, name: str) -> None:
        self._declare(
            self.state_log(name),
            {
                "cleanup.policy": "compact",
                "max.message.bytes": str(COMMIT_BYTES + 100_000),
                # A worker that was paused may still write: its successor must find what it has to repair.
                "min.compaction.lag.ms": "3600000",
                # A worker that comes back must still find what was deleted in the meantime.
                "delete.retention.ms": _milliseconds(DELETIONS_KEPT),
            },
        )

    def _event_configs(self) -> dict[str, str]:
        return {
            "cleanup.policy": "delete",
            "retention.ms": _milliseconds(self.settings.retention),
            # Kafka's retention goes by record time: with event time there, old events would be deleted at
            # once.
            "message.timestamp.type": "LogAppendTime",
        }

    def _declare(self, name: str, configs: dict[str, str]) -> None:
        conf = self.settings
        configs["min.insync.replicas"] = str(conf.min_insync_replicas)
        self.topic_specs[name] = TopicSpec(name, conf.partitions, conf.replication, configs)


def _milliseconds(length: timedelta) -> str:
    return str(int(length.total_seconds() * 1000))
