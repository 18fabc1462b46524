"""The service's interface for its views."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from millstream.engine.engine import Engine
from millstream.observability.metrics import Metric
from millstream.settings import Settings
from millstream.web.openapi import Operations
from millstream.web.panels import Panel
from millstream.web.queries import Queries
from millstream.web.scatter_gather import ScatterGather


class Service(Protocol):
    """The service's interface for its views.

    Attributes:
        conf: Faust's settings.
        settings: Millstream's settings.
        engine: the engine of this worker.
        gather: sends requests to other workers.
        queries: answers queries of tables.
        kafka: addresses of Kafka, host:port with commas.
        operations: descriptions of the views, by path.
        panels: panels of the live page.
        metrics: metrics that the service adds to `/metrics`.
        metric_samples: functions that read the samples of these metrics.
        web: Faust's web server, with all views.
    """

    conf: Any
    settings: Settings
    engine: Engine
    gather: ScatterGather
    queries: Queries
    kafka: str
    operations: Operations
    panels: Sequence[Panel]
    metrics: Sequence[Metric]
    metric_samples: Sequence[Callable[[Engine], Iterable[tuple[Metric, float]]]]
    web: Any

    def page(self, path: str) -> Callable[[Any], Any]:
        """Serve a view at a path."""
        ...
