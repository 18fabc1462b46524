"""Checks that what agents send is valid: a worker does not, since a reader of the topic would find out."""

from datetime import timedelta
from typing import Any

from millstream.faust_options import COMMIT_BYTES
from millstream.kafka.headers import ORIGIN
from millstream.records import Invalid
from millstream.serde.json import Decoder
from millstream.testing.memory_kafka import MemoryKafka


class OutputError(Exception):
    """An agent has sent a value that its topic's Record does not allow; the text says why."""


class OutputCheck:
    """Checks the values of the topics that are declared with a Record.

    Args:
        app: the service's App.
    """

    def __init__(self, app: Any) -> None:
        sources = {name: source.record for name, source in app.topology.sources.items()}
        self._decoders = {
            name: Decoder(record, max_bytes=COMMIT_BYTES, max_future=timedelta.max, time_field=None)
            for name, record in (sources | app.outputs).items()
        }
        self._checked: dict[tuple[str, int], int] = {}
        self._of_the_test: set[tuple[str, int, int]] = set()

    def except_for(self, topic: str, partition: int, offset: int) -> None:
        """Leave a record out: the test sends it, whatever its headers say."""
        self._of_the_test.add((topic, partition, offset))

    def check(self, kafka: MemoryKafka) -> None:
        """Check what was sent since the last time.

        Raises:
            OutputError: a value is not valid.
        """
        for topic, decoder in self._decoders.items():
            for number in range(kafka.partitions):
                start = self._checked.get((topic, number), 0)
                found = kafka.records(topic, number, start)
                self._checked[topic, number] = start + len(found)
                # Others' records have no origin: those may be invalid, and become dead letters.
                sent = [
                    one
                    for one in found
                    if one.value is not None
                    and ORIGIN in dict(one.headers)
                    and (topic, number, one.offset) not in self._of_the_test
                ]
                for record, event in zip(sent, decoder.many(sent, f"{topic}/{number}"), strict=True):
                    if isinstance(event, Invalid):
                        text = record.value.decode(errors="backslashreplace")
                        raise OutputError(
                            f"{topic}: an agent has sent what is no {decoder.record.__name__}: "
                            f"{event.reason} The value is {text[:200]}"
                        )
