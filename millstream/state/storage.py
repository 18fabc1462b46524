"""The storage of source partitions' state: a log in Kafka, and rows on this worker's disk."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition

from millstream.state.kafka_log import KafkaLog
from millstream.state.replica import Replica, Table
from millstream.state.state import State
from millstream.state.store import Store


class Storage(Protocol):
    """Opens the state of source partitions."""

    def log_topic(self, topic: str) -> str:
        """Return the name of a source topic's state log."""
        ...

    def open(self, topic: str, number: int, tables: Iterable[Table]) -> State:
        """Open the tables of a source partition, as its owner."""
        ...

    def open_replica(self, topic: str, number: int, tables: Iterable[Table]) -> Replica:
        """Open the tables of a source partition, as a standby."""
        ...


class DiskStorage:
    """Opens the state of source partitions; see `Storage`.

    Args:
        folder: folder of the rows, with a folder for each partition.
        app_id: part of the state logs' names.
        producer: returns the producer for appends to the logs.
        bootstrap: returns addresses of Kafka, host:port with commas.
        topic_ids: the topics' ids by name, as far as Kafka provides them.
    """

    def __init__(
        self,
        folder: Path,
        app_id: str,
        producer: Callable[[], AIOKafkaProducer],
        bootstrap: Callable[[], str],
        topic_ids: Mapping[str, str],
    ) -> None:
        self._folder = folder
        self._app_id = app_id
        self._producer = producer
        self._bootstrap = bootstrap
        self._topic_ids = topic_ids

    def log_topic(self, topic: str) -> str:
        """Return the name of a source topic's state log."""
        return log_topic(topic, self._app_id)

    def folder(self, topic: str, number: int) -> Path:
        """Return the folder of a source partition's rows."""
        return self._folder / f"{topic}-{number}"

    def open(self, topic: str, number: int, tables: Iterable[Table]) -> State:
        """Open the tables of a source partition, as its owner."""
        log_topic = self.log_topic(topic)
        log = KafkaLog(
            self._producer,
            self._bootstrap(),
            TopicPartition(log_topic, number),
            self._topic_ids.get(log_topic, ""),
        )
        return State(log, Store(self.folder(topic, number)), tables)

    def open_replica(self, topic: str, number: int, tables: Iterable[Table]) -> Replica:
        """Open the tables of a source partition, as a standby."""
        topic_id = self._topic_ids.get(self.log_topic(topic), "")
        return Replica(topic_id, Store(self.folder(topic, number)), tables)


def log_topic(topic: str, app_id: str) -> str:
    """Return the name of a source topic's state log."""
    return f"{topic}.{app_id}.state"
