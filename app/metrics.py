"""All metrics of a worker: their names and what they say. `make docs` writes `docs/metrics.md` from here.

No label grows with the data: topics, partitions and tables are declared, codes are few.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from app.engine.meters import LATENCY_SECONDS, RESTORE_SECONDS, WORK_SECONDS, Histogram

Kind = Literal["counter", "gauge", "histogram"]
Label = Literal["topic", "partition", "table", "code"]
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: its name, with the unit; that of a counter ends in `_total`.
        kind: its type.
        help: what it says, in a sentence.
        labels: names of its labels.
        bounds: upper bounds of a histogram's buckets, but the last.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[Label, ...] = ()
    bounds: tuple[float, ...] = ()

    @property
    def series(self) -> set[str]:
        """The names that its samples have."""
        if self.kind == "histogram":
            return {f"{self.name}_{part}" for part in ("bucket", "count", "sum")}
        return {self.name}

    def family(self) -> Family:
        """Make what its samples are added to."""
        if self.kind == "counter":
            return CounterMetricFamily(self.name.removesuffix("_total"), self.help, labels=self.labels)
        if self.kind == "gauge":
            return GaugeMetricFamily(self.name, self.help, labels=self.labels)
        return HistogramMetricFamily(self.name, self.help, labels=self.labels)


def buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return the buckets of a histogram as Prometheus wants them: each with all that is below it."""
    found, total = [], 0
    for bound, count in zip([*histogram.bounds, float("inf")], histogram.counts, strict=True):
        total += count
        found.append((floatToGoString(bound), float(total)))  # type: ignore[no-untyped-call] # it has no types
    return found


EVENTS = Metric(
    "millstream_events_total",
    "counter",
    "Valid events of a source topic whose state is committed, duplicates and late ones among them.",
    ("topic",),
)
DUPLICATES = Metric(
    "millstream_duplicate_events_total",
    "counter",
    "Events that a table has let not pass, because it had seen them before.",
    ("topic", "table"),
)
DEAD_LETTERS = Metric(
    "millstream_dead_letters_total",
    "counter",
    "Records of a source topic that were no event, or that their agent refused, by the reason's code.",
    ("topic", "code"),
)
LATE = Metric(
    "millstream_late_events_total",
    "counter",
    "Events that came after a table's grace; one that is late for several windows counts for each.",
    ("topic", "table"),
)
OUTPUTS = Metric(
    "millstream_outputs_total",
    "counter",
    "Records sent to a topic by committed batches, dead letters and late events among them, repeats not.",
    ("topic",),
)
BATCH_RETRIES = Metric(
    "millstream_batch_retries_total",
    "counter",
    "How often a partition has dropped what was not committed and begun again, because something failed.",
    ("topic",),
)
EVENT_RETRIES = Metric(
    "millstream_event_retries_total",
    "counter",
    "Tries of events that had been set aside to be tried again later.",
    ("topic",),
)
WAITING = Metric(
    "millstream_waiting_events",
    "gauge",
    "Events that wait to be tried again, or behind such an event of their key.",
    ("topic", "partition"),
)
LAG = Metric(
    "millstream_lag_events",
    "gauge",
    "Records of a source partition that are not in its state yet; none while it is restored.",
    ("topic", "partition"),
)
WATERMARK_DELAY = Metric(
    "millstream_watermark_delay_seconds",
    "gauge",
    "How far a partition's watermark is behind the wall clock; none before its first event.",
    ("topic", "partition"),
)
LATENCY = Metric(
    "millstream_event_latency_seconds",
    "histogram",
    "From when Kafka got a valid event to its confirmed commit; of a batch, up to 8 events stand for all.",
    ("topic",),
    LATENCY_SECONDS,
)
BATCH = Metric(
    "millstream_batch_duration_seconds",
    "histogram",
    "Time of a batch: decoding, its agent and tables, until the producer has its outputs.",
    ("topic",),
    WORK_SECONDS,
)
COMMIT = Metric(
    "millstream_commit_duration_seconds",
    "histogram",
    "Time of a commit: the updates it sends, the state log's confirmation, the rows on disk.",
    ("topic",),
    WORK_SECONDS,
)
COMMIT_WAIT = Metric(
    "millstream_commit_waiting_seconds",
    "gauge",
    "How long the oldest batch that is not committed waits: for its outputs, or its commit.",
    ("topic",),
)
PARTITIONS = Metric("millstream_partitions", "gauge", "Source partitions that the worker owns.", ("topic",))
RESTORING = Metric(
    "millstream_restoring_partitions",
    "gauge",
    "Source partitions that the worker owns and that are not restored yet.",
    ("topic",),
)
RESTORE_LEFT = Metric(
    "millstream_restore_left_records",
    "gauge",
    "Offsets of the state log that a restore still has to read; none while none is under way.",
    ("topic", "partition"),
)
RESTORE_SECONDS_LEFT = Metric(
    "millstream_restore_left_seconds",
    "gauge",
    "Estimated time until a restore is done; none while none is under way, or nothing was read yet.",
    ("topic", "partition"),
)
RESTORED = Metric(
    "millstream_restored_records_total",
    "counter",
    "Records of state logs that finished restores have read.",
    ("topic",),
)
TAKEOVERS = Metric(
    "millstream_takeovers_total", "counter", "Partitions that were taken over and restored.", ("topic",)
)
TAKEOVER = Metric(
    "millstream_takeover_duration_seconds",
    "histogram",
    "Time of a take-over: from the assignment of a partition until it may be fetched.",
    ("topic",),
    RESTORE_SECONDS,
)
REBALANCES = Metric(
    "millstream_rebalances_total",
    "counter",
    "How often the consumer group has given the worker its partitions.",
)
READY = Metric("millstream_ready", "gauge", "1 if `/ready` says 200, else 0.")
STANDBY_LAG = Metric(
    "millstream_standby_lag_records",
    "gauge",
    "Records of a state log that the worker's copy, as a standby, does not hold yet.",
    ("topic", "partition"),
)
STATE_KEYS = Metric(
    "millstream_state_keys",
    "gauge",
    "Rows of a source topic's tables, as RocksDB estimates them.",
    ("topic",),
)
STATE_DISK = Metric(
    "millstream_state_disk_bytes", "gauge", "RocksDB's live files of a source topic's tables.", ("topic",)
)
STATE_MEMORY = Metric(
    "millstream_state_memory_bytes", "gauge", "RocksDB's memtables of a source topic's tables.", ("topic",)
)
REFERENCE_KEYS = Metric(
    "millstream_reference_keys",
    "gauge",
    "Keys with a value in the worker's copy of a reference topic.",
    ("topic",),
)
LOOP_LAG = Metric(
    "millstream_event_loop_lag_seconds",
    "histogram",
    "How late the event loop does what is due, looked at once a second.",
    (),
    WORK_SECONDS,
)
DISK_FREE = Metric("millstream_disk_free_bytes", "gauge", "Free space where the worker's tables are.")
DISK_SIZE = Metric("millstream_disk_size_bytes", "gauge", "Size of the file system where they are.")
ACTIVE_USERS = Metric(
    "millstream_active_users",
    "gauge",
    "Users of the last whole minute of event time; only with the agent `totals`, at the table's owner.",
)
PURCHASES = Metric(
    "millstream_day_purchases",
    "gauge",
    "Purchases of the day of event time, of the countries whose totals the worker owns; only with `totals`.",
)
SALES = Metric(
    "millstream_day_sales_amount",
    "gauge",
    "Their amounts less refunds, in the events' own currencies; only with `totals`.",
)

METRICS: Sequence[Metric] = (
    EVENTS,
    DUPLICATES,
    DEAD_LETTERS,
    LATE,
    OUTPUTS,
    BATCH_RETRIES,
    EVENT_RETRIES,
    WAITING,
    LAG,
    WATERMARK_DELAY,
    LATENCY,
    BATCH,
    COMMIT,
    COMMIT_WAIT,
    PARTITIONS,
    RESTORING,
    RESTORE_LEFT,
    RESTORE_SECONDS_LEFT,
    RESTORED,
    TAKEOVERS,
    TAKEOVER,
    REBALANCES,
    READY,
    STANDBY_LAG,
    STATE_KEYS,
    STATE_DISK,
    STATE_MEMORY,
    REFERENCE_KEYS,
    LOOP_LAG,
    DISK_FREE,
    DISK_SIZE,
    ACTIVE_USERS,
    PURCHASES,
    SALES,
)
"""In the order in which they are shown."""

# By prometheus-client's own collectors, on Linux.
PROCESS = {
    "process_cpu_seconds_total": "CPU time of the worker.",
    "process_max_fds": "Files and connections that it may have open.",
    "process_open_fds": "Files and connections that it has open.",
    "process_resident_memory_bytes": "Memory that it holds (RSS).",
    "process_start_time_seconds": "When it began, seconds since the epoch.",
    "process_virtual_memory_bytes": "Memory that it has asked for.",
    "python_info": "Version of Python.",
}

_HEAD = """\
# Metrics

`GET /metrics` of each worker, in Prometheus' text format. Counters and histograms begin at 0 with the
process; what is of a partition is shown by the worker that owns it. A batch counts when it is committed: one
that is dropped and computed again counts once. `topic` has the prefix of `MILLSTREAM_TOPIC_PREFIX`. No label
grows with the data. Alerts and a dashboard: `deploy/prometheus`, `deploy/grafana`.

This page is written by `make docs` from `app/metrics.py`.

| metric | type | labels | |
|---|---|---|---|
"""


def document() -> str:
    """Return the page of all metrics, as Markdown."""
    rows: list[tuple[str, ...]] = [
        (m.name, m.kind, ", ".join(f"`{label}`" for label in m.labels), m.help) for m in METRICS
    ]
    rows += [(name, _kind(name), "", text) for name, text in PROCESS.items()]
    return _HEAD + "".join(
        f"| `{name}` | {kind} | {labels} | {text} |\n" for name, kind, labels, text in rows
    )


def _kind(name: str) -> Kind:
    return "counter" if name.endswith("_total") else "gauge"


if __name__ == "__main__":
    print(document(), end="")
