"""The closed-form service with state logs that Kafka compacts within seconds."""

from tests.framework.apps.closed_form import app

QUICK = {
    "segment.ms": "1000",
    "segment.bytes": "1048576",  # the smallest that Kafka takes
    "min.compaction.lag.ms": "2000",
    "max.compaction.lag.ms": "3000",
    "min.cleanable.dirty.ratio": "0.01",
}

for spec in app.topic_specs.values():
    if spec.configs["cleanup.policy"] == "compact":
        spec.configs.update(QUICK)  # type: ignore[attr-defined]

__all__ = ["app"]
