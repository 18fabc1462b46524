"""Records of one partition that are processed together."""

from collections.abc import Sequence

from millstream.kafka.records import ConsumerRecord


class Chunk:
    """Records of one partition that are processed together.

    Attributes:
        records: the records; None until they are taken.
        generation: number of the fetch position's last move. Records that were fetched before it are not
            wanted any more.
        retry: whether these are events from the retry queue.
        watermark: where a chunk without records moves the watermark; None for one with records.
    """

    __slots__ = ("generation", "records", "retry", "watermark")

    def __init__(
        self, records: Sequence[ConsumerRecord] | None, generation: int, *, retry: bool = False
    ) -> None:
        self.records = records
        self.generation = generation
        self.retry = retry
        self.watermark: float | None = None
