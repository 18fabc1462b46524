"""JSON: decoders of Records, and the encoder of agents' outputs."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar, cast

import faust
import msgspec

from millstream.kafka.records import ConsumerRecord, Unsent
from millstream.records import EventTime, Invalid, Layout, event_time, make_struct, struct_of
from millstream.serde.wire import WireForm, wire_form

R = TypeVar("R", bound=faust.Record)


def _encode_other(value: object) -> object:
    if isinstance(value, faust.Record):
        return value.asdict()
    # msgspec requires this error for unknown types.
    raise NotImplementedError(
        f"a {type(value).__name__} cannot be sent: send a Record, its twin, or what JSON has a form for"
    )


encode = msgspec.json.Encoder(enc_hook=_encode_other).encode
"""Encode a Record or its twin as JSON; an `EventTime` becomes a number of seconds."""


def _decode_time(typ: type, value: object) -> float:
    if typ is not EventTime:
        # msgspec requires this error for unknown types.
        raise NotImplementedError(f"a Record's field cannot be of the type {typ!r}")
    return event_time(value)


class Decoder(Generic[R]):
    """Decodes and validates values of one Record.

    Args:
        record: the Record of the values.
        max_bytes: size limit of a value.
        max_future: how far an event time may be ahead of the broker's time.
        time_field: name of the event-time field; None if there is none.

    Raises:
        DeclarationError: the Record has a field that cannot be decoded.
    """

    def __init__(
        self, record: type[R], *, max_bytes: int, max_future: timedelta, time_field: str | None = "timestamp"
    ) -> None:
        self.record = record
        self.max_bytes = max_bytes
        self.max_future = max_future.total_seconds()
        self.time_field = time_field
        self._struct = struct_of(record)
        self._decode = msgspec.json.Decoder(self._struct, dec_hook=_decode_time).decode
        # It accepts everything that `event_time` accepts, and its errors say what is wrong.
        self._decode_slowly = msgspec.json.Decoder(make_struct(record, {}), dec_hook=_decode_time).decode
        self._moments = tuple(name for name, typ in Layout(record).types.items() if typ is EventTime)
        # Of Records whose fields may come from elsewhere.
        self._wire: WireForm | None = wire_form(record, self._struct, _decode_time)
        self._wire_first = self._wire is not None and self._wire.always

    def many(self, records: Sequence[ConsumerRecord], place: str = "") -> list[Any]:
        """Decode a batch; an invalid value is replaced by an `Invalid`.

        Args:
            records: the records of one partition.
            place: the partition, `topic/number`, for fields that come from a record's origin.
        """
        decode, max_bytes, time_field, moments = self._decode, self.max_bytes, self.time_field, self._moments
        if self._wire_first:
            return [self._from_wire(record, place) for record in records]
        out: list[Any] = []
        append = out.append
        for record in records:
            value = record.value
            # An exception raised here refers to this frame; appending it would make the batch a reference
            # cycle.
            try:
                if len(value) > max_bytes:  # type: ignore[arg-type] # None is rare: see below
                    append(self._too_large(value))
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
                    # By its own names first: other names count only where these do not do.
                    event = self._slow(value)
                    if event is None:
                        append(self._from_wire(record, place))
                        continue
                if time_field is not None:
                    ahead = getattr(event, time_field) - record.timestamp / 1000
                    if ahead > self.max_future:
                        append(_in_the_future(ahead))
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
        (event,) = self.many([Unsent(value, timestamp)])
        if isinstance(event, Invalid):
            raise event
        return cast(R, event)

    def _slow(self, value: bytes | None) -> Any:
        """Return the event of a value in an unusual form; None if it is one only by other names.

        Raises:
            msgspec.ValidationError: it is none.
        """
        try:
            return self._struct(*msgspec.structs.astuple(self._decode_slowly(value)))  # type: ignore[arg-type] # a TypeError
        except msgspec.ValidationError:
            if self._wire is None:
                raise
            return None

    def _from_wire(self, record: ConsumerRecord, place: str) -> Any:
        """Return the event of a record whose fields may come from elsewhere, or an `Invalid`."""
        wire, value = self._wire, record.value
        assert wire is not None
        try:
            if len(value) > self.max_bytes:  # type: ignore[arg-type] # None: a TypeError
                return self._too_large(value)
            event = wire.event(record, place)
            if self.time_field is not None:
                ahead = getattr(event, self.time_field) - record.timestamp / 1000
                if ahead > self.max_future:
                    return _in_the_future(ahead)
            return event
        except Invalid as exc:
            return exc.with_traceback(None)
        except (msgspec.DecodeError, UnicodeError, TypeError, RecursionError) as exc:
            return _explain(value, exc)

    def _too_large(self, value: bytes | None) -> Invalid:
        return Invalid(
            "too-large", f"The value has {len(value or b'')} bytes; the limit is {self.max_bytes}."
        )


def _in_the_future(seconds: float) -> Invalid:
    return Invalid("impossible-time", f"The event time is {seconds / 3600:.1f} hours in the future.")


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
