"""Which partition a key lies in."""

from functools import lru_cache

from aiokafka.partitioner import murmur2


# Bounded: there may be any number of keys. murmur2 takes microseconds, the cache a tenth of one.
@lru_cache(maxsize=1 << 17)
def partition_for(key: bytes, count: int) -> int:
    """Return the partition of a key, as Kafka's own clients choose it."""
    return int((murmur2(key) & 0x7FFFFFFF) % count)
