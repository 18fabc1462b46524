"""Parameters of the views. Each is declared once, for parsing and description, so that these agree."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from millstream.records import event_time
from millstream.tables.table import iso
from millstream.web.problems import ProblemError


@dataclass(frozen=True, eq=False)
class Parameter:
    """A parameter of a path or a query string.

    Attributes:
        name: its name.
        about: description for people.
        schema: JSON Schema of the valid values.
        read: parses the text; a ProblemError says why the text is invalid.
    """

    name: str
    about: str
    schema: Mapping[str, Any]
    read: Callable[[str], Any]


def known(query: Mapping[str, str], parameters: Iterable[Parameter]) -> None:
    """Check that a query string has no other parameters.

    Raises:
        ProblemError: it has an unknown parameter.
    """
    names = [parameter.name for parameter in parameters]
    for name in query:
        if name not in names:
            raise ProblemError(400, f"There is no parameter {name!r} here; known are: {', '.join(names)}.")


def given(query: Mapping[str, str], **fields: Parameter) -> dict[str, Any]:
    """Return the parsed values of a query string, by field.

    Raises:
        ProblemError: a value is invalid.
    """
    return {field: one.read(query[one.name]) for field, one in fields.items() if one.name in query}


def text(name: str, about: str) -> Parameter:
    """Declare any text."""
    return Parameter(name, about, {"type": "string"}, str)


def path_text(name: str, about: str) -> Parameter:
    """Declare a text in a path, which must not be empty."""
    return Parameter(name, about, {"type": "string", "minLength": 1}, str)


def choice(name: str, about: str, among: Iterable[str]) -> Parameter:
    """Declare one of several names; any other name is answered with 404."""
    names = list(among)

    def read(text: str) -> str:
        if text not in names:
            raise ProblemError(404, f"There is no {name} {text!r}; known are: {', '.join(names)}.")
        return text

    return Parameter(name, about, {"enum": names}, read)


def moment(name: str, about: str) -> Parameter:
    """Declare an event time; its value is in seconds since the epoch."""

    def read(text: str) -> float:
        try:
            seconds = event_time(float(text) if text.replace(".", "", 1).isdigit() else text)
            iso(seconds)  # rejects times beyond the calendar
        except (ValueError, OverflowError, OSError):  # the last one comes from C's calendar
            raise ProblemError(
                400, f"{name}={text} is not a time: use ISO-8601 (2026-01-31T12:00Z) or epoch seconds."
            ) from None
        return float(seconds)

    forms = [{"type": "string", "format": "date-time"}, {"type": "number", "minimum": 0}]
    return Parameter(name, about, {"anyOf": forms, "examples": ["2026-01-31T12:00:00Z", 1769860800]}, read)


def whole(
    name: str, about: str, *, least: int = 1, most: int, default: int | None = None, status: int = 400
) -> Parameter:
    """Declare a whole number; `status` is the answer to an invalid one."""

    def read(text: str) -> int:
        digits = text.isascii() and text.isdecimal() and len(text) <= 19
        if not digits or not least <= int(text) <= most:
            raise ProblemError(status, f"{name}={text} is not a number from {least} to {most}.")
        return int(text)

    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Parameter(name, about, schema if default is None else schema | {"default": default}, read)


def truth(name: str, about: str) -> Parameter:
    """Declare `true` or `false`; the default is `false`."""

    def read(text: str) -> bool:
        if text not in ("true", "false"):
            raise ProblemError(400, f"{name}={text} is neither true nor false.")
        return text == "true"

    return Parameter(name, about, {"type": "boolean", "default": False}, read)


def duration(name: str, about: str) -> Parameter:
    """Declare a number of seconds."""

    def read(text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not isfinite(seconds) or seconds < 0:
            raise ProblemError(400, f"{name}={text} is not a number of seconds.")
        return seconds

    return Parameter(name, about, {"type": "number", "minimum": 0}, read)
