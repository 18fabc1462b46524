"""A worker's log: as text, or a line of JSON for each record; what is said again and again is said once."""

import logging
import re
import time
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog

# What is the same but for its numbers is said once in so many seconds.
REPEAT_SECONDS = 30.0
MOST_KNOWN = 1000
DIGITS = re.compile(r"\d+")

# Whose errors tell what a partition has lost: each is said.
OWNERS = ("app.engine.", "tables.")
# They tell of each step of theirs.
CHATTY = ("faust", "mode")
# What a part of theirs begins with, ours among them, that tells of its start or stop.
PART = "[^"


class Repeats(logging.Filter):
    """Holds back warnings and errors that were said a moment ago, and says with the next how many there were.

    A broker that is away has each of a client's tasks say so ten times a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be said."""
        if not logging.WARNING <= record.levelno < logging.CRITICAL or _is_a_loss(record):
            return True
        said = record.getMessage()
        key = (record.name, record.levelno, DIGITS.sub("", said))
        now = time.monotonic()
        since, held = self._known.pop(key, (-REPEAT_SECONDS, 0))
        if now - since < REPEAT_SECONDS:
            self._known[key] = since, held + 1
            return False
        self._known[key] = now, 0
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]
        if held:
            record.msg, record.args = f"{said} (and {held} times since this was said last)", ()
        return True


def _is_a_loss(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR and record.name.startswith(OWNERS)


def _no_part(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or not str(record.msg).startswith(PART)


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
            handler.addFilter(_no_part)
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
