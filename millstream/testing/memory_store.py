"""Rows in memory; see `millstream.state.store.Store`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from millstream.state import snapshot
from millstream.state.store import Rows, Sizes


class MemoryStore:
    """Rows of bytes, sorted by key.

    Args:
        rows: the storage of the rows; several stores may share it.
    """

    path = Path("memory")

    def __init__(self, rows: dict[bytes, bytes]) -> None:
        self._rows = rows

    def get(self, key: bytes) -> bytes | None:
        """Read one row."""
        return self._rows.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Read several rows; a missing row is None."""
        return [self._rows.get(key) for key in keys]

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows from key `start` up to, not including, `end`, in order."""
        for key in sorted(key for key in self._rows if start <= key < end):
            yield key, self._rows[key]

    def write(
        self, rows: Rows, derived: Rows | None = None, ranges: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Write rows (None deletes one) and delete ranges of keys."""
        for changed in (rows, derived or {}):
            for key, value in changed.items():
                if value is None:
                    self._rows.pop(key, None)
                else:
                    self._rows[key] = value
        for first, last in ranges:
            for key in [key for key in self._rows if first <= key < last]:
                del self._rows[key]

    def reset(self, why: str) -> None:  # noqa: ARG002 (a store in memory is not set aside)
        """Delete all rows."""
        self._rows.clear()

    def sizes(self) -> Sizes:
        """Return the size of the rows."""
        return Sizes(len(self._rows), 0, sum(len(key) + len(value) for key, value in self._rows.items()))

    def snapshot(self) -> snapshot.Rows:
        """Return a snapshot of the rows."""
        return snapshot.Rows(dict(self._rows))

    def close(self) -> None:
        """Do nothing: the rows are kept."""
