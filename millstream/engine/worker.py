"""The worker process."""

import gc
import logging
import os
import signal

import faust

from millstream.engine.engine import engine_of
from millstream.engine.shutdown import end_within

logger = logging.getLogger(__name__)

# An orchestrator gives 30 s between SIGTERM and SIGKILL.
STOP_SECONDS = 28.0

# A fetch brings tens of thousands of records, none of them garbage: a collector that looks at them after
# every 700 takes a fifth of a restore's time.
GC_THRESHOLDS = (50_000, 20, 100)


def settle_memory() -> None:
    """Exclude all present objects from garbage collection, and collect the others less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


class Worker(faust.Worker):
    """Faust's worker, which stops in bounded time, and at once on a second signal.

    It has no spinner: with one, log level WARN makes every library write debug records.
    """

    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:  # noqa: ARG002 (Faust's signature)
        """Keep the requested log level; the app sets up the rest."""
        self.spinner = None
        self.app.set_up_log(logger)

    def _schedule_shutdown(self, number: signal.Signals) -> None:
        if self._signal_stop_time:
            logger.warning("%s for the second time: the worker ends now; nothing is lost", number.name)
            os._exit(128 + number)
        engine_of(self.app).stopping = True
        end_within(STOP_SECONDS)
        super()._schedule_shutdown(number)
