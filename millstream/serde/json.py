"""JSON: decoders of Records, and the encoder of agents' outputs."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar, cast

import faust
import msgspec

from millstream.records import EventTime, Invalid, event_time, struct_of, twin

R = TypeVar("R", bound=faust.Record)

encode = msgspec.json.Encoder().encode
"""Encode a twin as JSON; an `EventTime` becomes a number of seconds."""


def _decode_time(typ: type, value: object) -> float:
    if typ is not EventTime:
        # msgspec requires this error for unknown types.
        raise NotImplementedError(f"a Record's field cannot be of the type {typ!r}")
    return event_time(value)


class FromKafka(Protocol):
    """The part of a record that a decoder needs: its bytes and the broker's time in milliseconds."""

    value: bytes | None
    timestamp: int


class Decoder(Generic[R]):
    """Decodes and validates values of one Record.

    Args:
        record: the Record of the values.
        max_bytes: size limit of a value.
        max_future: how far an event time may be ahead of the broker's time.
        time_field: name of the event-time field; None if there is none.
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
        # It accepts everything that `event_time` accepts, and its errors say what is wrong.
        self._decode_slowly = msgspec.json.Decoder(struct_of(record, {}), dec_hook=_decode_time).decode
        self._moments = tuple(name for name, typ in record._options.fields.items() if typ is EventTime)

    def many(self, records: Iterable[FromKafka]) -> list[Any]:
        """Decode a batch; an invalid value is replaced by an `Invalid`."""
        decode, max_bytes, time_field, moments = self._decode, self.max_bytes, self.time_field, self._moments
        out: list[Any] = []
        append = out.append
        for record in records:
            value = record.value
            # An exception raised here refers to this frame; appending it would make the batch a reference
            # cycle.
            try:
                if len(value) > max_bytes:  # type: ignore[arg-type] # None is rare: see below
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
                            raise ValueError  # the slow decoder's error says what is wrong
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
            Invalid: the value is invalid.
        """
        (event,) = self.many([_Value(value, timestamp)])
        if isinstance(event, Invalid):
            raise event
        return cast(R, event)


class _Value(msgspec.Struct):
    value: bytes | None
    timestamp: int


def _seconds(moment: datetime | float) -> float:
    """Convert a time that msgspec has parsed to seconds since the epoch."""
    if isinstance(moment, datetime):
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return event_time(moment)


def _explain(value: bytes | None, exc: Exception) -> Invalid:
    if value is None:
        return Invalid("tombstone", "The record has no value; tombstones are not allowed in an event topic.")
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
