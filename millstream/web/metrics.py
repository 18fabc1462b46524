"""`/metrics`: the metrics of `millstream.observability.metrics`, read from the engine at each scrape."""

import os
import time
from collections.abc import Iterable

from aiohttp import web as http
from faust.types import TP
from faust.web import Request, Web
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from millstream.engine.counters import Counters, Histogram, add
from millstream.engine.engine import Engine
from millstream.engine.error_handling import FAILED
from millstream.engine.partition import Partition
from millstream.engine.source import Source
from millstream.observability import metrics
from millstream.observability.metrics import Family, Metric, buckets
from millstream.records import CODES
from millstream.tables.dedup import DedupTable
from millstream.tables.origin_dedup import OriginDedupTable
from millstream.web.health import reasons
from millstream.web.openapi import TEXT, Operation
from millstream.web.service import Service

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Sheet:
    """The samples of one scrape.

    Args:
        more: metrics of the service, in addition to the framework's.
    """

    def __init__(self, more: Iterable[Metric] = ()) -> None:
        self.families: dict[Metric, Family] = {
            metric: metric.family() for metric in (*metrics.METRICS, *more)
        }

    def put(self, metric: Metric, value: float, *labels: str) -> None:
        """Add a sample of a counter or a gauge, with the values of its labels."""
        family = self.families[metric]
        assert not isinstance(family, HistogramMetricFamily)
        family.add_metric(labels, value)

    def put_histogram(self, metric: Metric, values: Histogram, *labels: str) -> None:
        """Add the samples of a histogram."""
        family = self.families[metric]
        assert isinstance(family, HistogramMetricFamily)
        family.add_metric(labels, buckets(values), values.sum)


class EngineCollector(Collector):
    """Reads an engine at each scrape.

    Args:
        app: the service. The folder of the worker's tables need not exist yet.
    """

    def __init__(self, app: Service) -> None:
        self._app = app
        self._folder = app.settings.data_dir
        self._ready_lag = app.settings.ready_lag

    @property
    def _engine(self) -> Engine:
        return self._app.engine

    def collect(self) -> Iterable[Family]:
        """Return all metrics; those without a sample have only their name and help text."""
        sheet, engine = Sheet(self._app.metrics), self._engine
        self._put_worker(sheet)
        outputs: dict[str, int] = {}
        # A topic has counters once the worker has had one of its partitions.
        for topic, counters in sorted(engine.counters.items()):
            _put_counters(sheet, engine.sources[topic], counters)
            for name, count in counters.outputs.items():
                add(outputs, name, count)
            held = {tp: p for tp, p in sorted(engine.partitions.items()) if tp.topic == topic}
            _put_topic(sheet, topic, list(held.values()))
            for tp, partition in held.items():
                self._put_partition(sheet, tp, partition)
        for name, count in sorted(outputs.items()):
            sheet.put(metrics.OUTPUTS, count, name)
        for samples in self._app.metric_samples:
            for metric, value in samples(engine):
                sheet.put(metric, value)
        return sheet.families.values()

    def _put_worker(self, sheet: Sheet) -> None:
        engine = self._engine
        sheet.put(metrics.REBALANCES, engine.rebalances)
        sheet.put(metrics.READY, int(next(reasons(engine, self._ready_lag), None) is None))
        sheet.put_histogram(metrics.LOOP_LAG, engine.loop_lag)
        for tp, copy in sorted(engine.standbys.copies.items()):
            if copy.lag is not None:
                sheet.put(metrics.STANDBY_LAG, copy.lag, tp.topic, str(tp.partition))
        for topic, reference in sorted(engine.references.copies.items()):
            sheet.put(metrics.REFERENCE_KEYS, reference.keys, topic)
        try:
            disk = os.statvfs(self._folder)
        except FileNotFoundError:
            return
        sheet.put(metrics.DISK_FREE, disk.f_bavail * disk.f_frsize)
        sheet.put(metrics.DISK_SIZE, disk.f_blocks * disk.f_frsize)

    def _put_partition(self, sheet: Sheet, tp: TP, partition: Partition) -> None:
        engine, labels = self._engine, (tp.topic, str(tp.partition))
        if partition.committed is None:
            if partition.state is not None:
                progress = partition.state.progress
                sheet.put(metrics.RESTORE_LEFT, max(0, progress.end - progress.next), *labels)
                if progress.end and progress.seconds_left is not None:
                    sheet.put(metrics.RESTORE_SECONDS_LEFT, progress.seconds_left, *labels)
            return
        sheet.put(metrics.WAITING, len(partition.errors.retry_queue), *labels)
        lag = engine.lag(tp)
        if lag is not None:
            sheet.put(metrics.LAG, lag, *labels)
        if partition.cursor.watermark:
            sheet.put(metrics.WATERMARK_DELAY, engine.clock() - partition.cursor.watermark, *labels)


def _put_counters(sheet: Sheet, source: Source, counters: Counters) -> None:
    topic = source.topic
    sheet.put(metrics.EVENTS, counters.events, topic)
    sheet.put(metrics.BATCH_RETRIES, counters.retries, topic)
    sheet.put(metrics.EVENT_RETRIES, counters.again, topic)
    sheet.put(metrics.TAKEOVERS, counters.takeovers, topic)
    sheet.put(metrics.RESTORED, counters.restored, topic)
    # Starts at 0, because Prometheus sees no increase if a series begins with 1.
    for code in sorted({*CODES, FAILED, *counters.dead}):
        sheet.put(metrics.DEAD_LETTERS, counters.dead.get(code, 0), topic, code)
    for table in source.tables:
        if isinstance(table, DedupTable | OriginDedupTable):
            sheet.put(metrics.DUPLICATES, counters.duplicates.get(table.name, 0), topic, table.name)
        if getattr(table, "grace", None) is not None:
            sheet.put(metrics.LATE, counters.late.get(table.name, 0), topic, table.name)
    sheet.put_histogram(metrics.LATENCY, counters.latency, topic)
    sheet.put_histogram(metrics.BATCH, counters.batches, topic)
    sheet.put_histogram(metrics.COMMIT, counters.commits, topic)
    sheet.put_histogram(metrics.TAKEOVER, counters.restores, topic)


def _put_topic(sheet: Sheet, topic: str, held: list[Partition]) -> None:
    sheet.put(metrics.PARTITIONS, len(held), topic)
    sheet.put(metrics.RESTORING, sum(partition.committed is None for partition in held), topic)
    waiting = [partition.queue.since for partition in held]
    since = min((one for one in waiting if one is not None), default=None)
    sheet.put(metrics.COMMIT_WAIT, 0.0 if since is None else time.monotonic() - since, topic)
    sizes = [partition.state.sizes() for partition in held if partition.state is not None]
    keys, disk, memory = map(sum, zip(*sizes, strict=True)) if sizes else (0, 0, 0)
    sheet.put(metrics.STATE_KEYS, keys, topic)
    sheet.put(metrics.STATE_DISK, disk, topic)
    sheet.put(metrics.STATE_MEMORY, memory, topic)


def registry(app: Service) -> CollectorRegistry:
    """Return the registry of a worker's metrics."""
    made = CollectorRegistry()
    made.register(EngineCollector(app))
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    return made


def install(app: Service) -> None:
    """Serve the metrics."""
    collectors = registry(app)

    @app.operations.describe(Operation("workers", forms={"text/plain": TEXT}))
    @app.page("/metrics")
    async def show_metrics(web: Web, request: Request) -> http.Response:  # noqa: ARG001 (Faust's signature)
        """Return all metrics in Prometheus' text format."""
        return http.Response(body=generate_latest(collectors), headers={"Content-Type": CONTENT_TYPE})
