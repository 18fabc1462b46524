"""What stands for Kafka in tests of commands that send."""

from collections.abc import Iterable
from typing import Any

from millstream.kafka.local import KafkaUnavailable
from millstream.sources.record import Record
from millstream.sources.send import Sent


class Sink:
    """Stands for Kafka: keeps what a command sends, and how."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.options: dict[str, Any] = {}
        self.stopped = False
        self.error: Exception | None = None

    def bootstrap(self, settings: object) -> str:
        if isinstance(self.error, KafkaUnavailable):
            raise self.error
        return "kafka:9092"

    def run(self, records: Iterable[Record], **options: Any) -> Sent:
        self.options = options
        if self.error:
            raise self.error
        self.records += records
        return Sent(len(self.records), 2.0, self.stopped)
