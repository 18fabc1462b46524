"""`/metrics`: what `app.metrics` declares, read from the engine when it is asked for."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

from aiohttp import web as http
from faust.types import TP
from faust.web import Request, Web
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from app import metrics
from app.engine.engine import Engine
from app.engine.meters import Histogram, Meter, add
from app.engine.partition import Partition
from app.engine.source import Source
from app.engine.trouble import FAILED
from app.metrics import Family, Metric, buckets
from app.service import app
from app.settings import settings
from app.web.business import figures
from app.web.health import reasons
from app.web.openapi import TEXT, Operation, told
from models.record import CODES
from tables.once import OnceTable
from tables.seen import SeenTable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Sheet:
    """The samples of one scrape."""

    def __init__(self) -> None:
        self.families: dict[Metric, Family] = {metric: metric.family() for metric in metrics.METRICS}

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
        engine: the engine.
        folder: where the worker's tables are; it need not exist yet.
        ready_lag: see `app.web.health.reasons`.
    """

    def __init__(self, engine: Engine, folder: Path, ready_lag: int) -> None:
        self._engine = engine
        self._folder = folder
        self._ready_lag = ready_lag

    def collect(self) -> Iterable[Family]:
        """Return all metrics; those without a sample are only named."""
        sheet, engine = Sheet(), self._engine
        self._put_worker(sheet)
        outputs: dict[str, int] = {}
        # A topic has a meter once the worker has had a partition of it.
        for topic, meter in sorted(engine.meters.items()):
            _put_meter(sheet, engine.sources[topic], meter)
            for name, count in meter.outputs.items():
                add(outputs, name, count)
            held = {tp: p for tp, p in sorted(engine.partitions.items()) if tp.topic == topic}
            _put_topic(sheet, topic, list(held.values()))
            for tp, partition in held.items():
                self._put_partition(sheet, tp, partition)
        for name, count in sorted(outputs.items()):
            sheet.put(metrics.OUTPUTS, count, name)
        for metric, value in figures(engine):
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
            if hasattr(partition, "state"):
                progress = partition.state.progress
                sheet.put(metrics.RESTORE_LEFT, max(0, progress.end - progress.next), *labels)
                if progress.end and progress.seconds_left is not None:
                    sheet.put(metrics.RESTORE_SECONDS_LEFT, progress.seconds_left, *labels)
            return
        sheet.put(metrics.WAITING, len(partition.trouble.waiting), *labels)
        lag = engine.lag(tp)
        if lag is not None:
            sheet.put(metrics.LAG, lag, *labels)
        if partition.watermark:
            sheet.put(metrics.WATERMARK_DELAY, engine.clock() - partition.watermark, *labels)


def _put_meter(sheet: Sheet, source: Source, meter: Meter) -> None:
    topic = source.topic
    sheet.put(metrics.EVENTS, meter.events, topic)
    sheet.put(metrics.BATCH_RETRIES, meter.retries, topic)
    sheet.put(metrics.EVENT_RETRIES, meter.again, topic)
    sheet.put(metrics.TAKEOVERS, meter.takeovers, topic)
    sheet.put(metrics.RESTORED, meter.restored, topic)
    # With a 0 before the first one: Prometheus sees no increase of what begins with 1.
    for code in sorted({*CODES, FAILED, *meter.dead}):
        sheet.put(metrics.DEAD_LETTERS, meter.dead.get(code, 0), topic, code)
    for table in source.tables:
        if isinstance(table, SeenTable | OnceTable):
            sheet.put(metrics.DUPLICATES, meter.duplicates.get(table.name, 0), topic, table.name)
        if getattr(table, "grace", None) is not None:
            sheet.put(metrics.LATE, meter.late.get(table.name, 0), topic, table.name)
    sheet.put_histogram(metrics.LATENCY, meter.latency, topic)
    sheet.put_histogram(metrics.BATCH, meter.batches, topic)
    sheet.put_histogram(metrics.COMMIT, meter.commits, topic)
    sheet.put_histogram(metrics.TAKEOVER, meter.restores, topic)


def _put_topic(sheet: Sheet, topic: str, held: list[Partition]) -> None:
    sheet.put(metrics.PARTITIONS, len(held), topic)
    sheet.put(metrics.RESTORING, sum(partition.committed is None for partition in held), topic)
    waiting = [partition.queue.since for partition in held]
    since = min((one for one in waiting if one is not None), default=None)
    sheet.put(metrics.COMMIT_WAIT, 0.0 if since is None else time.monotonic() - since, topic)
    sizes = [partition.state.sizes() for partition in held if hasattr(partition, "state")]
    keys, disk, memory = map(sum, zip(*sizes, strict=True)) if sizes else (0, 0, 0)
    sheet.put(metrics.STATE_KEYS, keys, topic)
    sheet.put(metrics.STATE_DISK, disk, topic)
    sheet.put(metrics.STATE_MEMORY, memory, topic)


def registry(engine: Engine, folder: Path, ready_lag: int) -> CollectorRegistry:
    """Return what is shown of a worker."""
    made = CollectorRegistry()
    made.register(EngineCollector(engine, folder, ready_lag))
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    return made


_registry = registry(app.engine, settings().data_dir, settings().ready_lag)


@told(Operation("workers", forms={"text/plain": TEXT}))
@app.page("/metrics")
async def show_metrics(web: Web, request: Request) -> http.Response:  # noqa: ARG001 (Faust's signature)
    """Show all metrics to Prometheus."""
    return http.Response(body=generate_latest(_registry), headers={"Content-Type": CONTENT_TYPE})
