"""Which events of another agent have been taken: each once, though a crash sends some of them again.

Outputs come at least once, a repeat with the same origin. Here is a bit for each origin, so neither order nor
distance matters, as they do to `tables.seen`.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from tables.replica import Changes
from tables.table import Batch, Out, Range, Reader

_BLOCK = struct.Struct(">q")
# Offsets of a row: one bit each.
BLOCK_BITS = 12
BLOCK_BYTES = (1 << BLOCK_BITS) // 8
# Blocks of a source partition that are kept: 67 million offsets, in 8 MB. A repeat is never so old.
BLOCKS_KEPT = 1 << 14

E_co = TypeVar("E_co", covariant=True)
E = TypeVar("E")


class Made(Batch[E_co], Protocol[E_co]):
    """Events that another agent has sent."""

    @property
    def sources(self) -> Sequence[tuple[bytes, int] | None]:
        """For each event the `topic/partition` and the offset that it was made from; None if it was not."""
        ...


class OnceTable:
    """Origins of the events that were taken.

    An agent may take one record of an origin from a topic: what sends several for one event needs topics of
    their own for them.

    Args:
        name: the table's name.
    """

    kind = "origins taken"

    def __init__(self, name: str) -> None:
        self.name = name
        self.derived: bytes | None = None
        self._prefix = f"{name}\0".encode()

    def open(self, out: Out) -> "Once":
        """Use the table in the commit of a batch."""
        return Once(self, out)

    def row_key(self, source: bytes, block: int) -> bytes:
        """Return the key of a block of a source partition's offsets."""
        return b"%s%s\0%s" % (self._prefix, source, _BLOCK.pack(block))

    def info(self, readers: Sequence[Reader]) -> dict[str, Any]:  # noqa: ARG002 (the same for all partitions)
        """Return how many offsets of a source partition are remembered."""
        return {"offsets_kept": BLOCKS_KEPT << BLOCK_BITS}

    def query(self, readers: Sequence[Reader], key: str, rows: Range) -> dict[str, Any] | None:  # noqa: ARG002 (an origin has one bit)
        """Return the partition that has taken an origin, `topic/partition/offset`; None if none has."""
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
        """Do nothing: a block is all there is of it."""


class Once:
    """The table in the commit of one batch."""

    def __init__(self, table: OnceTable, out: Out) -> None:
        self._table = table
        self._out = out
        self._blocks: dict[tuple[bytes, int], bytearray] = {}
        self._new: list[tuple[bytes, int]] = []
        out.at_end(self._fold)

    def first(self, batch: Made[E]) -> Iterator[E]:
        """Yield the events of a batch that were not taken before, in order; they are now."""
        sources = batch.sources
        self._load([(made[0], made[1] >> BLOCK_BITS) for made in sources if made is not None])
        found = []
        for i, made in enumerate(sources):
            if made is not None:
                source, offset = made
                block, bit = divmod(offset, 1 << BLOCK_BITS)
                bits, mask = self._blocks[source, block], 1 << (bit & 7)
                if bits[bit >> 3] & mask:
                    continue
                bits[bit >> 3] |= mask
            found.append(i)
        if len(found) < len(sources):
            self._out.repeated(self._table.name, len(sources) - len(found))
        return batch.pick(found)

    def _load(self, blocks: Sequence[tuple[bytes, int]]) -> None:
        missing = [block for block in dict.fromkeys(blocks) if block not in self._blocks]
        rows = self._out.read([self._table.row_key(*block) for block in missing])
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
