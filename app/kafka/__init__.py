"""The Kafka that the service talks to: an outside one, or a local one that `millstream kafka up` starts.

Everything here is synchronous and safe to call from two processes at once.
"""

from app.kafka.local import bootstrap, down, status, up, wipe
from app.kafka.state import KafkaUnavailable, Running

__all__ = ["KafkaUnavailable", "Running", "bootstrap", "down", "status", "up", "wipe"]
