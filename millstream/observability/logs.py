"""A worker's log: as text, or as a line of JSON per record; repeated messages are suppressed."""

import logging
import re
import time
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog

# Messages that differ only in their numbers are logged once in this time.
REPEAT_SECONDS = 30.0
MOST_KNOWN = 1000
DIGITS = re.compile(r"\d+")

# Loggers whose errors report what a partition has lost: each of these is logged.
OWNERS = ("millstream.engine.", "millstream.state.", "millstream.tables.")
# Loggers that report each of their steps.
CHATTY = ("faust", "mode")
# Start of the messages about the start or stop of a service, including Millstream's own.
SERVICE = "[^"


class Repeats(logging.Filter):
    """Suppresses repeated warnings and errors; the next one that is logged has the number of suppressed ones.

    If a broker is down, each task of a client logs it ten times a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        if not logging.WARNING <= record.levelno < logging.CRITICAL or _is_a_loss(record):
            return True
        message = record.getMessage()
        key = (record.name, record.levelno, DIGITS.sub("", message))
        now = time.monotonic()
        since, held = self._known.pop(key, (-REPEAT_SECONDS, 0))
        if now - since < REPEAT_SECONDS:
            self._known[key] = since, held + 1
            return False
        self._known[key] = now, 0
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]
        if held:
            record.msg, record.args = f"{message} (and {held} times since this was said last)", ()
        return True


def _is_a_loss(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR and record.name.startswith(OWNERS)


def _is_no_service(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or not str(record.msg).startswith(SERVICE)


def set_up(root: logging.Logger, form: str, worker: str) -> None:
    """Set up the handlers of a worker's log.

    Args:
        root: the root logger.
        form: `text` or `json`.
        worker: the worker's name, for JSON.
    """
    if root.level > logging.DEBUG:
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
        for handler in root.handlers:
            handler.addFilter(_is_no_service)
    for handler in root.handlers:
        handler.addFilter(Repeats())
        if form == "json":
            handler.setFormatter(_json(worker))


def _json(worker: str) -> logging.Formatter:
    def name_worker(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["worker"] = worker
        return event

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(allow=["origin"]),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            name_worker,
            structlog.processors.EventRenamer("message"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(
                serializer=lambda event, **_: orjson.dumps(event, default=str).decode()
            ),
        ],
    )
