"""Deduplication by origin: each event of another agent is taken once, though a crash may send it again.

Outputs are delivered at least once, and a repeat has the same origin. This table keeps one bit per origin, so
neither order nor distance matters, unlike in `millstream.tables.dedup`.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from millstream.state.replica import Changes
from millstream.tables.table import Batch, Commit, Range, Reader

_BLOCK = struct.Struct(">q")
# Offsets per row, one bit each, as a power of two.
BLOCK_BITS = 12
BLOCK_BYTES = (1 << BLOCK_BITS) // 8
# Blocks kept per source partition: 67 million offsets, in 8 MB. No repeat is that old.
BLOCKS_KEPT = 1 << 14

E_co = TypeVar("E_co", covariant=True)
E = TypeVar("E")


class SentEvents(Batch[E_co], Protocol[E_co]):
    """Events that another agent sent."""

    @property
    def sources(self) -> Sequence[tuple[bytes, int] | None]:
        """For each event, the `topic/partition` and offset of its origin; None if it has no origin."""
        ...


class OriginDedupTable:
    """Deduplicates events by origin.

    An agent can take one record per origin from a topic. An agent that sends several records for one event
    must send them to different topics.

    Args:
        name: the table's name.
    """

    kind = "deduplication by origin"

    def __init__(self, name: str) -> None:
        self.name = name
        self.derived: bytes | None = None
        self._prefix = f"{name}\0".encode()

    def open(self, commit: Commit) -> "OriginDeduplication":
        """Use the table in the commit of a batch."""
        return OriginDeduplication(self, commit)

    def row_key(self, source: bytes, block: int) -> bytes:
        """Return the key of the row for a block of a source partition's offsets."""
        return b"%s%s\0%s" % (self._prefix, source, _BLOCK.pack(block))

    def info(self, readers: Sequence[Reader]) -> dict[str, Any]:  # noqa: ARG002 (the same for all partitions)
        """Return how many offsets per source partition are kept."""
        return {"offsets_kept": BLOCKS_KEPT << BLOCK_BITS}

    def query(self, readers: Sequence[Reader], key: str, rows: Range) -> dict[str, Any] | None:  # noqa: ARG002 (an origin has one bit)
        """Return the partition that has taken an origin `topic/partition/offset`; None if none has."""
        source, _, offset = key.rpartition("/")
        if not (offset.isascii() and offset.isdecimal() and len(offset) < 19):
            return None
        block, bit = divmod(int(offset), 1 << BLOCK_BITS)
        for reader in readers:
            raw = reader.get_committed(self.row_key(source.encode(), block))
            if raw is not None and raw[bit >> 3] >> (bit & 7) & 1:
                return {"partition": reader.partition}
        return None

    def derive(self, key: bytes, value: bytes | None, changes: Changes) -> None:
        """Do nothing: the table has no derived rows."""


class OriginDeduplication:
    """The table in the commit of one batch."""

    def __init__(self, table: OriginDedupTable, commit: Commit) -> None:
        self._table = table
        self._commit = commit
        self._blocks: dict[tuple[bytes, int], bytearray] = {}
        self._new: list[tuple[bytes, int]] = []
        commit.at_end(table, self._fold)

    def first(self, batch: SentEvents[E]) -> Iterator[E]:
        """Yield the events of a batch that were not taken before, in order, and mark them as taken."""
        return batch.pick(self.fresh(batch.sources))

    def fresh(self, sources: Sequence[tuple[bytes, int] | None]) -> list[int]:
        """Return the indices of the events that were not taken before, in order, and mark them as taken.

        Args:
            sources: for each event, the `topic/partition` and offset of its origin; None if it has none.
        """
        self._load([(origin[0], origin[1] >> BLOCK_BITS) for origin in sources if origin is not None])
        found = []
        for i, origin in enumerate(sources):
            if origin is not None:
                source, offset = origin
                block, bit = divmod(offset, 1 << BLOCK_BITS)
                bits, mask = self._blocks[source, block], 1 << (bit & 7)
                if bits[bit >> 3] & mask:
                    continue
                bits[bit >> 3] |= mask
            found.append(i)
        if len(found) < len(sources):
            self._commit.repeated(self._table.name, len(sources) - len(found))
        return found

    def _load(self, blocks: Sequence[tuple[bytes, int]]) -> None:
        missing = [block for block in dict.fromkeys(blocks) if block not in self._blocks]
        rows = self._commit.read([self._table.row_key(*block) for block in missing])
        for block, raw in zip(missing, rows, strict=True):
            self._blocks[block] = bytearray(raw or BLOCK_BYTES)
            if raw is None:
                self._new.append(block)

    def _fold(self, changes: Changes) -> None:
        table = self._table
        for block, bits in self._blocks.items():
            changes.rows[table.row_key(*block)] = bytes(bits)
        for source, number in self._new:
            if number >= BLOCKS_KEPT:
                changes.rows[table.row_key(source, number - BLOCKS_KEPT)] = None
