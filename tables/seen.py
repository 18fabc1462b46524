"""Which events have been seen: deduplication by id, for a time to live in event time."""

import operator
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import timedelta
from heapq import merge
from itertools import groupby
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from tables.bloom import ScalableBloomFilter
from tables.reading import Committed, keys_of_rows
from tables.replica import Changes
from tables.table import Batch, Out, Range, Reader, iso

_BUCKET = struct.Struct(">q")
_PACK_KEY = struct.Struct(">qq")
_SIGHTING = struct.Struct(">qdd")

# After a start or a take-over each batch reads so many of the ids that were there before for each of its own,
# but at least so many, which takes a millisecond.
READ_AHEAD = 4
READ_LEAST = 2_000


class Identified(Protocol):
    """An event with an id."""

    event_id: str


E = TypeVar("E", bound=Identified)


class Sighting(NamedTuple):
    """First sighting of an id.

    Attributes:
        offset: of the event in its source partition.
        timestamp: event time, seconds since the epoch.
        expires: watermark from which on the id is forgotten, seconds since the epoch.
    """

    offset: int
    timestamp: float
    expires: float


class SeenTable:
    """Ids of the events that were seen, each for a time to live.

    An event is a duplicate if its id was seen before, and the partition's watermark (its largest event
    time) has moved on by less than `ttl` since. Ids lie in *buckets*, numbered watermark / ttl: those two
    buckets back have expired, and are deleted by range. The state log gets one record, a *pack*, for all
    ids of a batch.

    Args:
        name: the table's name.
        ttl: how long an id is remembered, in event time.
        event_time: the Record's field that is the event time, seconds since the epoch.
    """

    kind = "deduplication"

    def __init__(self, name: str, *, ttl: timedelta, event_time: str = "timestamp") -> None:
        self.name = name
        self.event_time = operator.attrgetter(event_time)
        self.ttl = ttl.total_seconds()
        self.counts_key = f"{name}\0c".encode()
        self.oldest_key = f"{name}\0o".encode()
        self._packs = f"{name}\0p".encode()
        self.derived: bytes | None = f"{name}\0i".encode()
        self._ids = self.derived

    def open(self, out: Out) -> "Sightings":
        """Use the table in the commit of a batch."""
        return Sightings(self, out)

    def find(self, reader: Reader, event_id: str) -> Sighting | None:
        """Look an id up among the committed rows of a partition."""
        bucket = self.bucket(reader.watermark)
        for number in (bucket, bucket - 1):
            raw = reader.get_committed(self.id_prefix(number) + event_id.encode())
            if raw is not None and (found := Sighting(*_SIGHTING.unpack(raw))).expires > reader.watermark:
                return found
        return None

    def info(self, readers: Sequence[Reader]) -> dict[str, Any]:
        """Return the time to live, and how many events were seen for the first time and again."""
        counts = [self.counts(reader.get_committed(self.counts_key)) for reader in readers]
        return {
            "ttl_seconds": self.ttl,
            "first_sightings": sum(first for first, _ in counts),
            "duplicates": sum(duplicates for _, duplicates in counts),
        }

    def counts(self, raw: bytes | None) -> tuple[int, int]:
        """Unpack how many events were first sightings, and how many duplicates."""
        return (0, 0) if raw is None else msgspec.msgpack.decode(raw, type=tuple[int, int])

    def query(self, readers: Sequence[Reader], key: str, rows: Range) -> dict[str, Any] | None:  # noqa: ARG002 (an id has one row)
        """Return where and when an id was first seen; None if it is not remembered."""
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
        """Yield the ids that a partition remembers and that begin with `prefix`, in order."""
        bucket = self.bucket(reader.watermark)
        ids = [
            keys_of_rows(reader.scan_committed, self.id_prefix(number), prefix, after)
            for number in (bucket - 1, bucket)
        ]
        for key, found in groupby(merge(*ids), key=operator.itemgetter(0)):
            if any(Sighting(*_SIGHTING.unpack(raw)).expires > reader.watermark for _, raw in found):
                yield key

    def newest(self, readers: Sequence[Committed], key: str) -> dict[str, Any] | None:
        """Return where and when an id was first seen; see `query`."""
        return self.query(readers, key, Range())

    def bucket(self, watermark: float) -> int:
        """Return the bucket that ids go to at a watermark."""
        return int(watermark // self.ttl)

    def id_prefix(self, bucket: int) -> bytes:
        """Return what the keys of a bucket's ids begin with."""
        return self._ids + _BUCKET.pack(bucket)

    def pack_key(self, bucket: int, end: int) -> bytes:
        """Return the key of the pack of a batch that ends before the offset `end`."""
        return self._packs + _PACK_KEY.pack(bucket, end)

    def expired_packs(self, out: Out, bucket: int) -> Iterator[bytes]:
        """Yield the keys of the committed packs that are two buckets or more behind `bucket`."""
        for key, _ in out.scan_committed(self._packs, self.pack_key(bucket - 1, 0)):
            yield key

    def derive(self, key: bytes, value: bytes | None, changes: Changes) -> None:
        """Unpack a pack into a row for each id, and delete the ids of the buckets that have expired.

        The deletion of a pack deletes no ids: it may be that of a zombie's pack, which never counted.
        """
        if value is None:
            return
        if key == self.oldest_key:
            changes.ranges.append((self._ids, self.id_prefix(*_BUCKET.unpack(value))))
        elif key.startswith(self._packs):
            prefix = self.id_prefix(_PACK_KEY.unpack_from(key, len(self._packs))[0])
            for event_id, sighting in msgspec.msgpack.decode(value):
                changes.derived[prefix + event_id] = sighting


class _Ids:
    """Tells which ids a bucket may hold, so that few of those that it does not are looked up on disk.

    Args:
        first: key of the bucket's first pack.
        end: a key behind those of its packs. Until they are read it may hold any id.
    """

    def __init__(self, first: bytes, end: bytes) -> None:
        self._unread: bytes | None = first
        self._end = end
        self._filter = ScalableBloomFilter()

    def read(self, out: Out, least: int) -> None:
        """Read on in the packs, until there are so many more ids."""
        if self._unread is None:
            return
        for key, pack in out.scan_committed(self._unread, self._end):
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
        """Return the indices of the ids that it may hold."""
        if self._unread is not None:
            return range(len(ids))
        return self._filter.candidates(ids)


class Sightings:
    """The table in the commit of one batch."""

    def __init__(self, table: SeenTable, out: Out) -> None:
        self._table = table
        self._out = out
        self._rows: dict[bytes, bytes | None] = {}
        self._packs: dict[int, list[tuple[bytes, bytes]]] = {}
        self._duplicates = 0
        out.at_end(self._fold)

    def first(self, batch: Batch[E]) -> Iterator[E]:
        """Yield the events of a batch that are no duplicates, in order, and remember them."""
        watermarks, bucket_of = batch.watermarks, self._table.bucket
        found: list[int] = []
        start = 0
        while start < len(watermarks):  # they only grow: mostly all are of one bucket
            bucket = bucket_of(watermarks[start])
            end = bisect_right(watermarks, bucket, lo=start, key=bucket_of)
            self._look_up(batch, bucket, start, end, found)
            start = end
        self._duplicates += len(watermarks) - len(found)
        return batch.pick(found)

    def _look_up(self, batch: Batch[E], bucket: int, start: int, end: int, found: list[int]) -> None:
        """Add the indices from `start` to `end` of the events that are no duplicates to `found`."""
        table = self._table
        pack, ttl, event_time = _SIGHTING.pack, table.ttl, table.event_time
        events, watermarks, origins = batch.events, batch.watermarks, batch.origins
        ids = [event.event_id.encode() for event in events[start:end]]
        known = {
            i
            for i, sighting in self._stored(ids, bucket).items()
            if _SIGHTING.unpack(sighting)[2] > watermarks[start + i]
        }
        # Of an id's sightings here the first counts: within a bucket none expires.
        first = {ids[i]: start + i for i in reversed(range(len(ids))) if i not in known}
        if not first:
            return
        indices = sorted(first.values())
        found += indices
        names = [ids[at - start] for at in indices]
        sightings = [pack(origins[at], event_time(events[at]), watermarks[at] + ttl) for at in indices]
        prefix = table.id_prefix(bucket)
        self._rows.update(zip([prefix + name for name in names], sightings, strict=True))
        self._packs.setdefault(bucket, []).extend(zip(names, sightings, strict=True))
        self._ids(bucket).update(names)

    def _stored(self, ids: Sequence[bytes], bucket: int) -> dict[int, bytes]:
        """Return the sightings of the ids that the bucket, or the one before it, holds, by index."""
        table, rows, read = self._table, self._rows, self._out.read
        stored: dict[int, bytes] = {}
        for number in (bucket - 1, bucket):
            known = self._ids(number)
            known.read(self._out, max(READ_LEAST, READ_AHEAD * len(ids)))
            indices = known.candidates(ids)
            prefix = table.id_prefix(number)
            keys = [prefix + ids[i] for i in indices]
            for i, key, raw in zip(indices, keys, read(keys), strict=True):
                if sighting := rows.get(key) or raw:
                    stored[i] = sighting
        return stored

    def _ids(self, bucket: int) -> "_Ids":
        """Return what is known in memory of a bucket's ids."""
        table, cache = self._table, self._out.cache
        prefix = table.id_prefix(bucket)
        ids = cache.get(prefix)
        if ids is None:
            ids = cache[prefix] = _Ids(table.pack_key(bucket, 0), table.pack_key(bucket + 1, 0))
            cache.pop(table.id_prefix(bucket - 2), None)
        return ids

    def _fold(self, changes: Changes) -> None:
        table, out = self._table, self._out
        changes.derived = {**changes.derived, **self._rows} if changes.derived else self._rows
        if self._rows or self._duplicates:
            first, duplicates = table.counts(out.read([table.counts_key])[0])
            counts = (first + len(self._rows), duplicates + self._duplicates)
            changes.rows[table.counts_key] = msgspec.msgpack.encode(counts)
        if self._duplicates:
            out.repeated(table.name, self._duplicates)
        for bucket, pack in self._packs.items():
            changes.rows[table.pack_key(bucket, out.serial)] = msgspec.msgpack.encode(pack)
        if not self._packs:
            return
        newest = max(self._packs)
        if newest != table.bucket(out.watermark):
            for key in table.expired_packs(out, newest):
                changes.rows[key] = None
            changes.rows[table.oldest_key] = oldest = _BUCKET.pack(newest - 1)
            table.derive(table.oldest_key, oldest, changes)
