"""Late events of a table: they go to the source's late events, and are counted."""

from collections.abc import Iterable

from millstream.state.replica import Changes
from millstream.tables.table import Commit, Reader


class LateEvents:
    """Counts the events that were too late for a table.

    Args:
        table: the table's name.
        key: key of the row that holds the count.
    """

    def __init__(self, table: str, key: bytes) -> None:
        self.table = table
        self.key = key

    def count(self, readers: Iterable[Reader]) -> int:
        """Return the number of late events in all the given partitions."""
        return sum(int(reader.get_committed(self.key) or 0) for reader in readers)

    def open(self, commit: Commit) -> "Late":
        """Use the counter in the commit of a batch."""
        return Late(self, commit)


class Late:
    """The late events of one batch."""

    def __init__(self, events: LateEvents, commit: Commit) -> None:
        self._events = events
        self._commit = commit
        self._count = 0

    def report(self, by: float) -> None:
        """Send the current event to the late events, and count it.

        Args:
            by: how many seconds the watermark was beyond the limit.
        """
        self._count += 1
        self._commit.late(self._events.table, by)

    def fold(self, changes: Changes) -> None:
        """Add the count to the changes; called after the last event was reported."""
        if self._count:
            key = self._events.key
            changes.rows[key] = b"%d" % (int(self._commit.read([key])[0] or 0) + self._count)
