"""The Kafka that the service talks to: an outside one, or a local one that `millstream kafka up` starts.

Everything here is synchronous and safe to call from two processes at once.
"""

from millstream.kafka.local.lifecycle import bootstrap, down, status, up, wipe
from millstream.kafka.local.state import KafkaUnavailable, Running

__all__ = ["KafkaUnavailable", "Running", "bootstrap", "down", "status", "up", "wipe"]
