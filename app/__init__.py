"""The Millstream service: settings, Kafka topics, the engine, web views and the command line.

`faust -A app worker` finds the Faust app here; it is built on first use, so that importing a part of
this package (a command's help, the settings) stays cheap.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "app":
        from app.main import app  # noqa: PLC0415 (on first use, see above)

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
