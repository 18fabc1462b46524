"""The definitions of all metrics of a worker. `make docs` writes `docs/metrics.md` from here.

No label grows with the data: topics, partitions and tables are declared, and there are few codes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from millstream.engine.counters import LATENCY_SECONDS, RESTORE_SECONDS, WORK_SECONDS, Histogram

Kind = Literal["counter", "gauge", "histogram"]
Label = Literal["topic", "partition", "table", "code"]
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


@dataclass(frozen=True)
class Metric:
    """The definition of a metric.

    Attributes:
        name: its name, with the unit; a counter's name ends in `_total`.
        kind: its type.
        help: its help text, one sentence.
        labels: names of its labels.
        bounds: upper bounds of a histogram's buckets, without the last.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[Label, ...] = ()
    bounds: tuple[float, ...] = ()

    @property
    def series(self) -> set[str]:
        """The names of its samples."""
        if self.kind == "histogram":
            return {f"{self.name}_{part}" for part in ("bucket", "count", "sum")}
        return {self.name}

    def family(self) -> Family:
        """Return a new metric family for its samples."""
        if self.kind == "counter":
            return CounterMetricFamily(self.name.removesuffix("_total"), self.help, labels=self.labels)
        if self.kind == "gauge":
            return GaugeMetricFamily(self.name, self.help, labels=self.labels)
        return HistogramMetricFamily(self.name, self.help, labels=self.labels)


def buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return the buckets of a histogram in Prometheus' form: cumulative."""
    found, total = [], 0
    for bound, count in zip([*histogram.bounds, float("inf")], histogram.counts, strict=True):
        total += count
        found.append((floatToGoString(bound), float(total)))  # type: ignore[no-untyped-call] # it has no types
    return found


EVENTS = Metric(
    "millstream_events_total",
    "counter",
    "Valid events of a source topic whose state is committed, including duplicates and late ones.",
    ("topic",),
)
DUPLICATES = Metric(
    "millstream_duplicate_events_total",
    "counter",
    "Events that a table has dropped as duplicates.",
    ("topic", "table"),
)
DEAD_LETTERS = Metric(
    "millstream_dead_letters_total",
    "counter",
    "Records of a source topic that were invalid, or that their agent refused, by the reason's code.",
    ("topic", "code"),
)
LATE = Metric(
    "millstream_late_events_total",
    "counter",
    "Events that came after a table's grace; an event that is late for several windows counts for each.",
    ("topic", "table"),
)
OUTPUTS = Metric(
    "millstream_outputs_total",
    "counter",
    "Records that committed batches sent to a topic, with dead letters and late events, without repeats.",
    ("topic",),
)
BATCH_RETRIES = Metric(
    "millstream_batch_retries_total",
    "counter",
    "Times that a partition has dropped uncommitted work and restarted, because something failed.",
    ("topic",),
)
EVENT_RETRIES = Metric(
    "millstream_event_retries_total",
    "counter",
    "Retries of events from the retry queue.",
    ("topic",),
)
WAITING = Metric(
    "millstream_waiting_events",
    "gauge",
    "Events in the retry queue, including those that wait behind such an event of their key.",
    ("topic", "partition"),
)
LAG = Metric(
    "millstream_lag_events",
    "gauge",
    "Records of a source partition that are not in its state yet; none while it is being restored.",
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
    "Time from a valid event's arrival in Kafka to its confirmed commit; up to 8 events represent a batch.",
    ("topic",),
    LATENCY_SECONDS,
)
BATCH = Metric(
    "millstream_batch_duration_seconds",
    "histogram",
    "Duration of a batch: decoding, its agent and tables, until its outputs are passed to the producer.",
    ("topic",),
    WORK_SECONDS,
)
COMMIT = Metric(
    "millstream_commit_duration_seconds",
    "histogram",
    "Duration of a commit: its updates, the state log's confirmation, the rows on disk.",
    ("topic",),
    WORK_SECONDS,
)
COMMIT_WAIT = Metric(
    "millstream_commit_waiting_seconds",
    "gauge",
    "Time that the oldest uncommitted batch has waited for its outputs or its commit.",
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
    "Offsets of the state log that a restore still has to read; none without a restore.",
    ("topic", "partition"),
)
RESTORE_SECONDS_LEFT = Metric(
    "millstream_restore_left_seconds",
    "gauge",
    "Estimated time until a restore is done; none without a restore, or before its first record.",
    ("topic", "partition"),
)
RESTORED = Metric(
    "millstream_restored_records_total",
    "counter",
    "Records of state logs that completed restores have read.",
    ("topic",),
)
TAKEOVERS = Metric(
    "millstream_takeovers_total", "counter", "Partitions that were taken over and restored.", ("topic",)
)
TAKEOVER = Metric(
    "millstream_takeover_duration_seconds",
    "histogram",
    "Duration of a take-over: from the assignment of a partition until it may be fetched.",
    ("topic",),
    RESTORE_SECONDS,
)
REBALANCES = Metric(
    "millstream_rebalances_total",
    "counter",
    "Times that the consumer group has assigned partitions to the worker.",
)
READY = Metric("millstream_ready", "gauge", "1 if `/ready` returns 200, else 0.")
STANDBY_LAG = Metric(
    "millstream_standby_lag_records",
    "gauge",
    "Records of a state log that the worker's standby copy does not hold yet.",
    ("topic", "partition"),
)
STATE_KEYS = Metric(
    "millstream_state_keys",
    "gauge",
    "Rows of a source topic's tables, estimated by RocksDB.",
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
    "Delay of the event loop, measured once a second.",
    (),
    WORK_SECONDS,
)
DISK_FREE = Metric("millstream_disk_free_bytes", "gauge", "Free space of the worker's data file system.")
DISK_SIZE = Metric("millstream_disk_size_bytes", "gauge", "Size of the worker's data file system.")
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
)
"""All metrics, in the order of the output."""

# From prometheus-client's own collectors, on Linux.
PROCESS = {
    "process_cpu_seconds_total": "CPU time of the worker.",
    "process_max_fds": "Maximum number of open files and connections.",
    "process_open_fds": "Number of open files and connections.",
    "process_resident_memory_bytes": "Resident memory (RSS).",
    "process_start_time_seconds": "Start time of the process, seconds since the epoch.",
    "process_virtual_memory_bytes": "Virtual memory.",
    "python_info": "Version of Python.",
}

_HEAD = """\
# Metrics

`GET /metrics` of each worker, in Prometheus' text format. Counters and histograms begin at 0 with the
process; the metrics of a partition come from the worker that owns it. A batch counts when it is committed:
one that is dropped and computed again counts once. `topic` has the prefix of `MILLSTREAM_TOPIC_PREFIX`. No
label grows with the data. Alerts and a dashboard: `deploy/prometheus`, `deploy/grafana`.

`make docs` writes this page from `millstream/observability/metrics.py`, and from the metrics that the service
adds.

| metric | type | labels | |
|---|---|---|---|
"""


def document(more: Iterable[Metric] = ()) -> str:
    """Return the page of all metrics, as Markdown.

    Args:
        more: metrics of a service, in addition to the framework's.
    """
    rows: list[tuple[str, ...]] = [
        (m.name, m.kind, ", ".join(f"`{label}`" for label in m.labels), m.help) for m in (*METRICS, *more)
    ]
    rows += [(name, _kind(name), "", text) for name, text in PROCESS.items()]
    return _HEAD + "".join(
        f"| `{name}` | {kind} | {labels} | {text} |\n" for name, kind, labels, text in rows
    )


def _kind(name: str) -> Kind:
    return "counter" if name.endswith("_total") else "gauge"
