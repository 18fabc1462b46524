"""The worker process."""

import logging
import os
import signal
import threading

import faust

from app.engine.engine import EXIT_FAILED, engine_of
from app.engine.watchdog import dump_stacks

logger = logging.getLogger(__name__)

# An orchestrator gives 30 s between SIGTERM and SIGKILL.
STOP_SECONDS = 28.0


class Worker(faust.Worker):
    """Faust's worker, that ends in bounded time, and at once on a second signal.

    It has no spinner, for which log level WARN would have every library write debug records.
    """

    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:  # noqa: ARG002 (Faust's signature)
        """Leave the level as it was asked for."""
        self.spinner = None

    def _schedule_shutdown(self, number: signal.Signals) -> None:
        if self._signal_stop_time:
            logger.warning("%s for the second time: the worker ends now; nothing is lost", number.name)
            os._exit(128 + number)
        engine_of(self.app).stopping = True
        limit = threading.Timer(STOP_SECONDS, self._give_up)
        limit.daemon = True
        limit.start()
        super()._schedule_shutdown(number)

    def _give_up(self) -> None:
        logger.critical("the worker did not end within %.0f s, and is ended; nothing is lost", STOP_SECONDS)
        dump_stacks()
        os._exit(EXIT_FAILED)
