"""Millstream: real-time event pipelines on Apache Kafka, exact through crashes, in plain `async` Python.

What a service needs most is here. The types of tables are in `millstream.tables`, panels in
`millstream.web.panels`, the test driver in `millstream.testing.driver`. Names are imported on first use: a
command's help must not wait for Faust.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faust import Record

    from millstream.app import App
    from millstream.engine.batch import Batch, Batches
    from millstream.engine.commit import Commit
    from millstream.engine.error_policy import Backoff, DeadLetterLimit, ErrorPolicy, Verdict
    from millstream.errors import DeclarationError
    from millstream.fields import Fallback, From
    from millstream.producer import Producer
    from millstream.records import EventTime, twin
    from millstream.settings import Settings
    from millstream.version import __version__

__all__ = [
    "App",
    "Backoff",
    "Batch",
    "Batches",
    "Commit",
    "DeadLetterLimit",
    "DeclarationError",
    "ErrorPolicy",
    "EventTime",
    "Fallback",
    "From",
    "Producer",
    "Record",
    "Settings",
    "Verdict",
    "__version__",
    "twin",
]

_HOMES = {
    "App": "millstream.app",
    "Backoff": "millstream.engine.error_policy",
    "Batch": "millstream.engine.batch",
    "Batches": "millstream.engine.batch",
    "Commit": "millstream.engine.commit",
    "DeadLetterLimit": "millstream.engine.error_policy",
    "DeclarationError": "millstream.errors",
    "ErrorPolicy": "millstream.engine.error_policy",
    "EventTime": "millstream.records",
    "Fallback": "millstream.fields",
    "From": "millstream.fields",
    "Producer": "millstream.producer",
    "Record": "faust",
    "Settings": "millstream.settings",
    "Verdict": "millstream.engine.error_policy",
    "__version__": "millstream.version",
    "twin": "millstream.records",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        globals()[name] = value = getattr(import_module(_HOMES[name]), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
