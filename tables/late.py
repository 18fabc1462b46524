"""Events that come too late for a table: they go to the source's late events, and are counted."""

from collections.abc import Iterable

from tables.replica import Changes
from tables.table import Out, Reader


class LateEvents:
    """How many events came too late for a table.

    Args:
        table: its name.
        key: of the row that counts them.
    """

    def __init__(self, table: str, key: bytes) -> None:
        self.table = table
        self.key = key

    def count(self, readers: Iterable[Reader]) -> int:
        """Return how many there were, in all of some partitions."""
        return sum(int(reader.get_committed(self.key) or 0) for reader in readers)

    def open(self, out: Out) -> "Late":
        """Use it in the commit of a batch."""
        return Late(self, out)


class Late:
    """The late events of one batch."""

    def __init__(self, events: LateEvents, out: Out) -> None:
        self._events = events
        self._out = out
        self._count = 0

    def tell(self, by: float) -> None:
        """Send the event that the agent is at to the late ones, and count it.

        Args:
            by: how many seconds the watermark was too far.
        """
        self._count += 1
        self._out.late(self._events.table, by)

    def fold(self, changes: Changes) -> None:
        """Add the count to the changes; after the last event was told."""
        if self._count:
            key = self._events.key
            changes.rows[key] = b"%d" % (int(self._out.read([key])[0] or 0) + self._count)
