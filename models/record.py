"""How a `faust.Record` becomes a fast, strict decoder.

A Record's *twin* is a `msgspec.Struct` made from the Record's own fields, types, constraints and
defaults: created and decoded some thirty times faster than the Record itself, and checked while it is
decoded.
"""

from collections.abc import Hashable, Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

import faust
import msgspec

R = TypeVar("R", bound=faust.Record)

# Above it a number cannot be seconds (the year 5138); as milliseconds it is the year 1973.
MILLISECONDS_FROM = 1e11


class _Float(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, float)


if TYPE_CHECKING:
    EventTime = float
else:

    class EventTime(metaclass=_Float):
        """Type of a Record's field that is a moment: a float, seconds since the epoch, UTC.

        In JSON it is ISO-8601 text (without a zone: UTC), or a number of seconds or of milliseconds.
        """


def event_time(value: object) -> float:
    """Read a moment in any of its forms.

    Returns:
        Seconds since the epoch, UTC.

    Raises:
        TypeError: neither text nor number.
        ValueError: not ISO-8601, or before 1970.
    """
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"impossible time: {value!r} is not ISO-8601") from None
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value / 1000 if value >= MILLISECONDS_FROM else float(value)
    else:
        raise TypeError(f"Expected ISO-8601 text or a number, got `{type(value).__name__}`")
    if seconds < 0:
        raise ValueError(f"impossible time: {value!r} is before 1970")
    return seconds


class Invalid(Exception):
    """A value that is not an event.

    Attributes:
        code: stable word for programs, one of `CODES`.
        reason: one sentence for people.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


CODES = {
    "tombstone": "The record has no value.",
    "too-large": "The value is larger than the limit.",
    "not-json": "The value is not JSON in UTF-8.",
    "missing-field": "A required field is missing.",
    "wrong-type": "A field, or the whole value, has another type than declared.",
    "out-of-range": "A field has a value outside of its range, length or choices.",
    "impossible-time": "The event time cannot be read, is before 1970, or is too far in the future.",
}


@cache
def _twin(record: Any) -> type[msgspec.Struct]:
    # msgspec reads nearly all moments itself, much faster; `Decoder` makes seconds of them.
    return _struct(record, {EventTime: datetime | float})


def _struct(record: Any, instead: dict[Any, Any]) -> type[msgspec.Struct]:
    """Make a struct of a Record's fields, with some types in the place of others."""
    options = record._options
    fields = {name: instead.get(typ, typ) for name, typ in options.fields.items()}
    required = [(name, typ) for name, typ in fields.items() if name not in options.optionalset]
    optional = [
        (name, typ, options.defaults.get(name)) for name, typ in fields.items() if name in options.optionalset
    ]
    # gc=False: an event holds no reference cycle, and the collector need not walk thousands of them.
    return msgspec.defstruct(record.__name__, [*required, *optional], module=record.__module__, gc=False)


def twin(record: type[R]) -> type[R]:
    """Return the Record's compiled twin: called like the Record, with the same attributes."""
    # mypy takes a generic class for a function without a hash.
    return cast(type[R], _twin(cast(Hashable, record)))


encode = msgspec.json.Encoder().encode
"""Encode a twin as JSON; an `EventTime` as a number of seconds."""


def _decode_time(typ: type, value: object) -> float:
    if typ is not EventTime:
        # What msgspec asks of a hook that does not know a type.
        raise NotImplementedError(f"a Record's field cannot be of the type {typ!r}")
    return event_time(value)


class FromKafka(Protocol):
    """What a decoder needs of a record: bytes and the broker's time in milliseconds."""

    value: bytes | None
    timestamp: int


class Decoder(Generic[R]):
    """Decode and check values of one Record.

    Args:
        record: the Record that the values are of.
        max_bytes: size of the largest value.
        max_future: how far an event time may be ahead of the broker's time.
        time_field: name of the field with the event time; None if it has none.
    """

    def __init__(
        self, record: type[R], *, max_bytes: int, max_future: timedelta, time_field: str | None = "timestamp"
    ) -> None:
        self.record = record
        self.max_bytes = max_bytes
        self.max_future = max_future.total_seconds()
        self.time_field = time_field
        self._twin = twin(record)
        self._decode = msgspec.json.Decoder(self._twin, dec_hook=_decode_time).decode
        # It takes all that `event_time` takes, and its errors say what is wrong.
        self._decode_slowly = msgspec.json.Decoder(_struct(record, {}), dec_hook=_decode_time).decode
        self._moments = tuple(name for name, typ in record._options.fields.items() if typ is EventTime)

    def many(self, records: Iterable[FromKafka]) -> list[Any]:
        """Decode a batch; in place of a value that is not an event stands an `Invalid`."""
        decode, max_bytes, time_field, moments = self._decode, self.max_bytes, self.time_field, self._moments
        out: list[Any] = []
        append = out.append
        for record in records:
            value = record.value
            # What is raised here holds this frame, and must not be appended: the batch would be a circle.
            try:
                if len(value) > max_bytes:  # type: ignore[arg-type] # None is the rare case: see below
                    reason = f"The value has {len(value or b'')} bytes; the limit is {max_bytes}."
                    append(Invalid("too-large", reason))
                    continue
                try:
                    event = decode(value)  # type: ignore[arg-type] # as above
                    for name in moments:
                        moment = getattr(event, name)
                        usual = type(moment) is datetime and moment.tzinfo is not None
                        seconds = moment.timestamp() if usual else _seconds(moment)
                        if seconds < 0:
                            raise ValueError  # the slow decoder says what is wrong
                        setattr(event, name, seconds)
                except (msgspec.ValidationError, ValueError):
                    event = self._twin(*msgspec.structs.astuple(self._decode_slowly(value)))  # type: ignore[arg-type] # as above
                if time_field is not None:
                    ahead = getattr(event, time_field) - record.timestamp / 1000
                    if ahead > self.max_future:
                        reason = f"The event time is {ahead / 3600:.1f} hours in the future."
                        append(Invalid("impossible-time", reason))
                        continue
                append(event)
            except (msgspec.DecodeError, UnicodeError, TypeError, RecursionError) as exc:
                append(_explain(value, exc))
        return out

    def one(self, value: bytes | None, timestamp: int) -> R:
        """Decode one value.

        Args:
            value: JSON text.
            timestamp: the broker's time in milliseconds.

        Raises:
            Invalid: the value is not an event.
        """
        (event,) = self.many([_Value(value, timestamp)])
        if isinstance(event, Invalid):
            raise event
        return cast(R, event)


class _Value(msgspec.Struct):
    value: bytes | None
    timestamp: int


def _seconds(moment: datetime | float) -> float:
    """Return a moment that msgspec has read as seconds since the epoch."""
    if isinstance(moment, datetime):
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return event_time(moment)


def _explain(value: bytes | None, exc: Exception) -> Invalid:
    if value is None:
        return Invalid("tombstone", "The record has no value; an event topic has no keys to delete.")
    if isinstance(exc, RecursionError):
        return Invalid("out-of-range", "The value is nested too deeply.")
    text = str(exc)
    if not isinstance(exc, msgspec.ValidationError):
        return Invalid("not-json", f"{text}.")
    if text.startswith("impossible time"):
        code = "impossible-time"
    elif "missing required field" in text:
        code = "missing-field"
    elif text.startswith("Expected") and not any(
        word in text for word in (" of length ", " matching ", "<", ">")
    ):
        code = "wrong-type"
    else:
        code = "out-of-range"
    return Invalid(code, f"{text[0].upper()}{text[1:]}.")
