"""Deduplication by event id, for a time to live in event time."""

import operator
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from heapq import merge
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

import msgspec

from millstream.errors import DeclarationError
from millstream.state.readers import Committed, keys_of_rows
from millstream.state.replica import Changes
from millstream.tables.bloom import ScalableBloomFilter
from millstream.tables.table import Batch, Commit, Range, Reader, iso

_BUCKET = struct.Struct(">q")
_PACK_KEY = struct.Struct(">qq")
_ENTRY = struct.Struct(">qdd")

# After a start or a take-over, each batch also reads earlier ids back into the Bloom filter: READ_AHEAD for
# each id of its own, but at least READ_LEAST, which takes a millisecond.
READ_AHEAD = 4
READ_LEAST = 2_000


E = TypeVar("E")


class Occurrence(NamedTuple):
    """The first occurrence of an id.

    Attributes:
        offset: offset of the event in its source partition.
        timestamp: event time, seconds since the epoch.
        expires: watermark at which the id expires, seconds since the epoch.
    """

    offset: int
    timestamp: float
    expires: float


class DedupTable:
    """Deduplicates events by id; each id has a time to live.

    An event is a duplicate if its id occurred before and the partition's watermark (its largest event time)
    has moved by less than `ttl` since then. Ids are stored in *buckets*, numbered watermark / ttl. Buckets
    that are two or more behind the current one have expired, and are deleted by range. The state log gets one
    record, a *pack*, for all ids of a batch.

    Args:
        name: the table's name.
        ttl: how long an id is kept, in event time; at least a second.
        id: the Record's field that is the id, or what returns an event's id: text, or a whole number, which
            is the same as its digits.
        event_time: the Record's event-time field, seconds since the epoch; None for the source's.
    """

    kind = "deduplication"

    def __init__(
        self,
        name: str,
        *,
        ttl: timedelta,
        id: str | Callable[[Any], str | int] = "event_id",  # noqa: A002 (as one would say it)
        event_time: str | None = None,
    ) -> None:
        if ttl < timedelta(seconds=1):
            raise DeclarationError(f"ttl of table {name!r}: {ttl} is less than a second")
        self.name = name
        self.id_field = id if isinstance(id, str) else None
        self.id_of: Callable[[Any], str | int] = operator.attrgetter(id) if isinstance(id, str) else id
        self.time_field = event_time
        self.ttl = ttl.total_seconds()
        self.counts_key = f"{name}\0c".encode()
        self.oldest_key = f"{name}\0o".encode()
        self._packs = f"{name}\0p".encode()
        self.derived: bytes | None = f"{name}\0i".encode()
        self._ids = self.derived

    @property
    def event_time(self) -> Callable[[Any], float]:
        """Return an event's time."""
        return operator.attrgetter(self.time_field or "timestamp")

    def attached(self, time_field: str) -> None:
        """Note the event-time field of the source."""
        self.time_field = self.time_field or time_field

    def open(self, commit: Commit) -> "Deduplication":
        """Use the table in the commit of a batch."""
        return Deduplication(self, commit)

    def find(self, reader: Reader, event_id: str) -> Occurrence | None:
        """Look up an id in the committed rows of a partition."""
        bucket = self.bucket(reader.watermark)
        for number in (bucket, bucket - 1):
            raw = reader.get_committed(self.id_prefix(number) + event_id.encode())
            if raw is not None and (found := Occurrence(*_ENTRY.unpack(raw))).expires > reader.watermark:
                return found
        return None

    def info(self, readers: Sequence[Reader]) -> dict[str, Any]:
        """Return the time to live, the number of first occurrences and the number of duplicates."""
        counts = [self.counts(reader.get_committed(self.counts_key)) for reader in readers]
        return {
            "ttl_seconds": self.ttl,
            "first_sightings": sum(first for first, _ in counts),
            "duplicates": sum(duplicates for _, duplicates in counts),
        }

    def counts(self, raw: bytes | None) -> tuple[int, int]:
        """Decode the numbers of first occurrences and duplicates."""
        return (0, 0) if raw is None else msgspec.msgpack.decode(raw, type=tuple[int, int])

    def query(self, readers: Sequence[Reader], key: str, rows: Range) -> dict[str, Any] | None:  # noqa: ARG002 (an id has one row)
        """Return where and when an id first occurred; None if it is not stored."""
        for reader in readers:
            found = self.find(reader, key)
            if found is not None:
                return {
                    "partition": reader.partition,
                    "offset": found.offset,
                    "timestamp": iso(found.timestamp),
                    "expires": iso(found.expires),
                }
        return None

    def keys(self, reader: Committed, prefix: str, after: str | None) -> Iterator[str]:
        """Yield a partition's ids that begin with `prefix` and have not expired, in order."""
        bucket = self.bucket(reader.watermark)
        ids = [
            keys_of_rows(reader.scan_committed, self.id_prefix(number), prefix, after)
            for number in (bucket - 1, bucket)
        ]
        for key, found in groupby(merge(*ids), key=operator.itemgetter(0)):
            if any(Occurrence(*_ENTRY.unpack(raw)).expires > reader.watermark for _, raw in found):
                yield key

    def newest(self, readers: Sequence[Committed], key: str) -> dict[str, Any] | None:
        """Return where and when an id first occurred; see `query`."""
        return self.query(readers, key, Range())

    def bucket(self, watermark: float) -> int:
        """Return the bucket for new ids at a watermark."""
        return int(watermark // self.ttl)

    def id_prefix(self, bucket: int) -> bytes:
        """Return the key prefix of a bucket's ids."""
        return self._ids + _BUCKET.pack(bucket)

    def pack_key(self, bucket: int, end: int) -> bytes:
        """Return the key of the pack of a batch that ends before the offset `end`."""
        return self._packs + _PACK_KEY.pack(bucket, end)

    def expired_packs(self, commit: Commit, bucket: int) -> Iterator[bytes]:
        """Yield the keys of the committed packs that are at least two buckets behind `bucket`."""
        for key, _ in commit.scan_committed(self._packs, self.pack_key(bucket - 1, 0)):
            yield key

    def derive(self, key: bytes, value: bytes | None, changes: Changes) -> None:
        """Unpack a pack into one row per id, and delete the ids of expired buckets.

        Deleting a pack does not delete its ids: the pack may be a zombie's, which never counted.
        """
        if value is None:
            return
        if key == self.oldest_key:
            changes.ranges.append((self._ids, self.id_prefix(*_BUCKET.unpack(value))))
        elif key.startswith(self._packs):
            prefix = self.id_prefix(_PACK_KEY.unpack_from(key, len(self._packs))[0])
            for event_id, entry in msgspec.msgpack.decode(value):
                changes.derived[prefix + event_id] = entry


class _IdFilter:
    """A filter of the ids in a bucket. It avoids most disk look-ups of ids that the bucket does not hold.

    Until all packs of the bucket are read, every id is a candidate.

    Args:
        first: key of the bucket's first pack.
        end: an upper bound of the packs' keys.
    """

    def __init__(self, first: bytes, end: bytes) -> None:
        self._unread: bytes | None = first
        self._end = end
        self._filter = ScalableBloomFilter()

    def read(self, commit: Commit, least: int) -> None:
        """Continue to read packs, until at least `least` more ids are read."""
        if self._unread is None:
            return
        for key, pack in commit.scan_committed(self._unread, self._end):
            ids = [event_id for event_id, _ in msgspec.msgpack.decode(pack)]
            self.update(ids)
            least -= len(ids)
            if least <= 0:
                self._unread = key + b"\0"
                return
        self._unread = None

    def update(self, ids: Sequence[bytes]) -> None:
        """Add ids."""
        self._filter.update(ids)

    def candidates(self, ids: Sequence[bytes]) -> Sequence[int]:
        """Return the indices of the ids that the bucket may hold."""
        if self._unread is not None:
            return range(len(ids))
        return self._filter.candidates(ids)


class Deduplication:
    """The table in the commit of one batch."""

    def __init__(self, table: DedupTable, commit: Commit) -> None:
        self._table = table
        self._commit = commit
        self._rows: dict[bytes, bytes | None] = {}
        self._packs: dict[int, list[tuple[bytes, bytes]]] = {}
        self._duplicates = 0
        commit.at_end(table, self._fold)

    def first(self, batch: Batch[E]) -> Iterator[E]:
        """Yield the events of a batch that are not duplicates, in order, and add their ids."""
        watermarks, bucket_of = batch.watermarks, self._table.bucket
        found: list[int] = []
        start = 0
        while start < len(watermarks):  # watermarks never decrease: most batches are in one bucket
            bucket = bucket_of(watermarks[start])
            end = bisect_right(watermarks, bucket, lo=start, key=bucket_of)
            self._look_up(batch, bucket, start, end, found)
            start = end
        self._duplicates += len(watermarks) - len(found)
        return batch.pick(found)

    def _look_up(self, batch: Batch[E], bucket: int, start: int, end: int, found: list[int]) -> None:
        """Append the indices from `start` to `end` of the events that are not duplicates to `found`."""
        table = self._table
        pack, ttl, event_time = _ENTRY.pack, table.ttl, table.event_time
        events, watermarks, origins = batch.events, batch.watermarks, batch.origins
        ids = self._encoded(events[start:end])
        known = {
            i
            for i, entry in self._stored(ids, bucket).items()
            if _ENTRY.unpack(entry)[2] > watermarks[start + i]
        }
        # If an id occurs more than once here, the first one counts: within a bucket no id expires.
        first = {ids[i]: start + i for i in reversed(range(len(ids))) if i not in known}
        if not first:
            return
        indices = sorted(first.values())
        found += indices
        names = [ids[at - start] for at in indices]
        entries = [pack(origins[at], event_time(events[at]), watermarks[at] + ttl) for at in indices]
        prefix = table.id_prefix(bucket)
        self._rows.update(zip([prefix + name for name in names], entries, strict=True))
        self._packs.setdefault(bucket, []).extend(zip(names, entries, strict=True))
        self._ids(bucket).update(names)

    def _encoded(self, events: Sequence[E]) -> list[bytes]:
        id_of = self._table.id_of
        try:
            return [one.encode() for one in map(id_of, events)]  # type: ignore[union-attr] # numbers are below
        except AttributeError:  # not all are text
            ids = list(map(id_of, events))
        for one in ids:
            if not isinstance(one, str | int) or isinstance(one, bool):
                raise DeclarationError(
                    f"table {self._table.name!r}: an id is text or a whole number, this one is {one!r}: "
                    "`DedupTable(…, id=…)` takes a field or a function"
                )
        return [str(one).encode() for one in ids]

    def _stored(self, ids: Sequence[bytes], bucket: int) -> dict[int, bytes]:
        """Return the entries of the ids in this bucket or the one before, by index in `ids`."""
        table, rows, read = self._table, self._rows, self._commit.read
        stored: dict[int, bytes] = {}
        for number in (bucket - 1, bucket):
            known = self._ids(number)
            known.read(self._commit, max(READ_LEAST, READ_AHEAD * len(ids)))
            indices = known.candidates(ids)
            prefix = table.id_prefix(number)
            keys = [prefix + ids[i] for i in indices]
            for i, key, raw in zip(indices, keys, read(keys), strict=True):
                if entry := rows.get(key) or raw:
                    stored[i] = entry
        return stored

    def _ids(self, bucket: int) -> _IdFilter:
        """Return the in-memory filter of a bucket's ids."""
        table, cache = self._table, self._commit.cache
        prefix = table.id_prefix(bucket)
        ids = cache.get(prefix)
        if ids is None:
            ids = cache[prefix] = _IdFilter(table.pack_key(bucket, 0), table.pack_key(bucket + 1, 0))
            cache.pop(table.id_prefix(bucket - 2), None)
        return ids

    def _fold(self, changes: Changes) -> None:
        table, commit = self._table, self._commit
        changes.derived = {**changes.derived, **self._rows} if changes.derived else self._rows
        if self._rows or self._duplicates:
            first, duplicates = table.counts(commit.read([table.counts_key])[0])
            counts = (first + len(self._rows), duplicates + self._duplicates)
            changes.rows[table.counts_key] = msgspec.msgpack.encode(counts)
        if self._duplicates:
            commit.repeated(table.name, self._duplicates)
        for bucket, pack in self._packs.items():
            changes.rows[table.pack_key(bucket, commit.serial)] = msgspec.msgpack.encode(pack)
        if not self._packs:
            return
        newest = max(self._packs)
        if newest != table.bucket(commit.watermark):
            for key in table.expired_packs(commit, newest):
                changes.rows[key] = None
            changes.rows[table.oldest_key] = oldest = _BUCKET.pack(newest - 1)
            table.derive(table.oldest_key, oldest, changes)
