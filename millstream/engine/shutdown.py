"""The bounded end of a worker process."""

import faulthandler
import logging
import os
import sys
import threading

logger = logging.getLogger(__name__)

EXIT_FAILED = 3


def dump_stacks() -> None:
    """Write the stacks of all threads to stderr: the real one, Faust has put its log in its place."""
    faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)


def end_within(seconds: float) -> None:
    """End the process if it has not ended by itself until then; nothing is lost by that.

    By a thread: a task could be cancelled, or wait for what it should end.
    """

    def give_up() -> None:
        logger.critical("the worker did not end within %.0f s, and is ended; nothing is lost", seconds)
        dump_stacks()
        os._exit(EXIT_FAILED)

    limit = threading.Timer(seconds, give_up)
    limit.daemon = True
    limit.start()
