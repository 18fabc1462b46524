"""What a service declares on its App: topics, tables, reference topics, panels, file formats, a generator."""

import operator
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

import faust

from millstream.checks import check_event_time, check_key, check_table, check_table_name, check_topic_name
from millstream.engine.engine import Engine
from millstream.engine.source import Source
from millstream.engine.topology import Topology
from millstream.engine.transport import BatchSchema
from millstream.errors import DeclarationError
from millstream.faust_options import COMMIT_BYTES
from millstream.kafka.topics import TopicSpec
from millstream.observability.metrics import Metric
from millstream.serde.json import Decoder
from millstream.settings import Settings
from millstream.sources.formats import FileFormat
from millstream.sources.generator import Generator
from millstream.state.replica import DELETIONS_KEPT, Table
from millstream.state.storage import log_topic
from millstream.tables.origin_dedup import OriginDedupTable
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
        outputs: the Records of the topics that agents send to, by name.
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
    outputs: dict[str, type[faust.Record]]
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
        self.outputs = {}
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
        dead_letters: str | None = None,
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
            dead_letters: name of the topic for invalid records; it is declared with this one. None for the
                topic's name and `.dead-letters`.
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

        Raises:
            DeclarationError: a name is not allowed or taken, a field is not there or has no usable type, or
                the topic that this one is behind cannot report its watermarks.
        """
        dead_letters = dead_letters or f"{name}.dead-letters"
        name = self.settings.topic(name)
        check_key(record, key)
        check_event_time(record, event_time)
        upstream = None if behind is None else self._source(behind)
        if upstream is not None and (upstream.idle is None or idle is not None):
            raise DeclarationError(
                f"{name} is behind {upstream.topic}, whose partitions must report their watermarks without "
                "events, too: give that topic an `idle` time, and this one none"
            )
        decoder = Decoder(
            record,
            max_bytes=self.settings.max_event_bytes if limits else COMMIT_BYTES,
            max_future=self.settings.max_future if limits else timedelta.max,
            time_field=event_time,
        )
        asides = {self.settings.topic(aside): aside for aside in (dead_letters, late) if aside}
        for other in self.topology.sources.values():  # sources may share them
            asides.pop(other.dead_letters, None)
            asides.pop(other.late or "", None)
        self._declare(name, self._event_configs())
        self._declare_state_log(name)
        for aside in asides.values():
            self.output_topic(aside, copartitioned=True, max_bytes=ASIDE_BYTES)
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
            behind=None if upstream is None else upstream.topic,
            internal=not limits or upstream is not None,
        )
        if copartitioned:
            self.topology.copartitioned.add(name)
        return self.topic(name, value_type=record, schema=BatchSchema(value_type=record))

    def rekeyed_topic(
        self,
        name: str,
        of: faust.Topic,
        *,
        key: str,
        record: type[faust.Record] | None = None,
        event_time: str | None = None,
        dead_letters: str | None = None,
        late: str | None = None,
    ) -> faust.Topic:
        """Declare the events of a source topic by another key, so that all of a key lie in one partition.

        An agent of the source sends them, `commit.rekey(topic, event)`. An agent of this topic gets each
        event once, also after a crash, and its watermark is the lowest of all partitions of the source.

        Args:
            name: the topic's name.
            of: the source topic; it needs an `idle` time.
            key: the Record's field that is the key.
            record: the Record that its values are; None for the source's.
            event_time: the Record's field that is the event time; None for the source's.
            dead_letters: as for `source_topic`.
            late: as for `source_topic`.

        Raises:
            DeclarationError: as for `source_topic`.
        """
        source = self._source(of)
        topic = self.source_topic(
            name,
            source.record if record is None else record,
            key=key,
            event_time=event_time or source.time_field,
            dead_letters=dead_letters,
            late=late,
            behind=of,
            limits=False,
        )
        rekeyed = self._source(topic)
        source.rekeyed[rekeyed.topic] = operator.attrgetter(key)
        rekeyed.origin_dedup = OriginDedupTable(f"{name}-origins")
        self.add_tables(topic, rekeyed.origin_dedup)
        return topic

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

        Raises:
            DeclarationError: the name is not allowed or taken.
        """
        name = self.settings.topic(name)
        if record is not None:
            self.outputs[name] = record
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

        Raises:
            DeclarationError: the name is not allowed or taken, or the field is not there or no text.
        """
        conf = self.settings
        check_key(record, key)
        self._check_table_name(name)
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
        self._source(topic).references.extend(references)

    def add_tables(self, topic: faust.Topic, *tables: Table, keyed: bool = False) -> None:
        """Attach tables to a source topic: what its agent changes in them is exact through crashes.

        Args:
            topic: the source topic.
            tables: the tables.
            keyed: whether their keys are the topic's, so that all of a key lies in one partition, which
                Kafka's own clients choose. A query of a key then asks its owner only.

        Raises:
            DeclarationError: there is a table of this name, a table needs a field that the topic's Record has
                not, or it reports late events, and the topic has no place for them.
        """
        source = self._source(topic)
        for table in tables:
            self._check_table_name(table.name)
            check_table(table, source)
            source.tables.append(table)
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

    def _source(self, topic: faust.Topic) -> Source:
        name = topic.get_topic_name()
        if name not in self.topology.sources:
            raise DeclarationError(
                f"{name} is no source topic: `app.source_topic` declares a topic whose agent gets batches"
            )
        return self.topology.sources[name]

    def _check_table_name(self, name: str) -> None:
        taken = {table.name for source in self.topology.sources.values() for table in source.tables}
        if name in taken | self.references.keys():
            raise DeclarationError(
                f"there are two tables of the name {name!r}, which would share their rows: rename one"
            )
        check_table_name(name)

    def _declare(self, name: str, configs: dict[str, str]) -> None:
        conf = self.settings
        if name in self.topic_specs:
            raise DeclarationError(f"the topic {name} is declared twice: declare it once, and import it")
        check_topic_name(name)
        configs["min.insync.replicas"] = str(conf.min_insync_replicas)
        self.topic_specs[name] = TopicSpec(name, conf.partitions, conf.replication, configs)


def _milliseconds(length: timedelta) -> str:
    return str(int(length.total_seconds() * 1000))
