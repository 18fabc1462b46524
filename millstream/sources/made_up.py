"""Made-up events of a Record, from its types and bounds: for services that have registered no generator.

Test-data libraries (polyfactory, hypothesis) make independent instances of a class. A stream needs more of
its values: keys that repeat, ids that do not, times that advance, and the same bytes for the same seed.
So what an event consists of is decided here; `rstr` makes texts that match a pattern.
"""

import time
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from random import Random
from typing import Any
from uuid import UUID

import click
import msgspec
from msgspec import inspect

from millstream.engine.source import Source
from millstream.fields import present
from millstream.kafka.records import Unsent
from millstream.records import EventTime, Invalid, Layout, make_struct
from millstream.sources.bounds import Texts, fitted, floating, length, may_be_none, multiples, some
from millstream.sources.record import Record

KEYS = 100
UNPACED_RATE = 10_000
# A repeat follows within so many records.
REPEAT_WITHIN = 100
ABSENT_SHARE = 0.2
# How often a value that the Record does not accept is made anew.
TRIES = 50
# As many texts of a pattern are made for one of an allowed length.
TEXT_TRIES = 1000
# How many characters a text of a pattern may have beyond the least number, where there is no largest.
SPARE = 20
# Events that are made to see whether any can be.
PROBES = 20
OTHER_TYPE = msgspec.Raw(b'{"": [{}]}')
# Others have too few values, or no name in them.
ID_TYPES = (inspect.StrType, inspect.IntType, inspect.UUIDType)

OPTIONS = (
    click.Option(
        ["--duplicates"],
        type=click.FloatRange(0, 1),
        default=0.02,
        show_default=True,
        help="Share of the events sent again later, byte for byte.",
    ),
    click.Option(
        ["--invalid"],
        type=click.FloatRange(0, 1),
        default=0.0,
        show_default=True,
        help="Share of the records that the service does not accept, for its dead letters.",
    ),
)


class CannotMakeUpError(click.ClickException):
    """Values of a field cannot be made up; the text says what to do."""

    def __init__(self, record: str, field: str, why: str) -> None:
        super().__init__(
            f"events of {record} cannot be made up: {field} {why}; `app.add_generator(…)` registers a "
            "generator of your own"
        )


class MadeUpEvents:
    """Makes up events for a source topic.

    Args:
        source: the source topic.

    Raises:
        CannotMakeUpError: values of a field cannot be made up, or the Record does not accept them.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._record = source.record.__name__
        info = inspect.type_info(make_struct(source.record, {}))
        assert isinstance(info, inspect.StructType)
        self._fields = {field.name: (field.type, not field.required) for field in info.fields}
        self._ids = {name for name in _id_fields(source) if isinstance(some(self._fields[name][0]), ID_TYPES)}
        chance, now = Random(0), time.time()  # noqa: S311 (made-up data, no secrets) # nosec B311
        for number in range(PROBES):
            self._event(chance, "0", number, now)

    def records(
        self,
        *,
        seed: int,
        count: int | None,
        rate: float,
        start: float,
        duplicates: float = 0.02,
        invalid: float = 0.0,
    ) -> Iterator[Record]:
        """Yield records in sending order: the same arguments give the same bytes.

        Args:
            seed: seed of the random numbers.
            count: number of records, repeats included; None for no limit.
            rate: records per second of event time; 0 for as fast as they are consumed.
            start: event time of the first record, seconds since the epoch.
            duplicates: share of the events that are sent again, 0 to 1.
            invalid: share of the records that the service does not accept, 0 to 1.

        Raises:
            CannotMakeUpError: the Record does not accept what is made up of its types and bounds.
        """
        chance = Random(seed)  # noqa: S311 (made-up data, no secrets) # nosec B311
        run = blake2b(repr((seed, float(start))).encode(), digest_size=4).hexdigest()
        step = 1 / (rate or UNPACED_RATE)
        repeats: dict[int, Record] = {}
        number = 0
        while count is None or number < count:
            again = repeats.pop(number, None)
            if again is None:
                again = self._event(chance, run, number, start + number * step)
                if invalid and chance.random() < invalid:
                    again = self._damaged(chance, again)
                elif chance.random() < duplicates:
                    repeats[number + 1 + int(chance.random() * REPEAT_WITHIN)] = again
            yield again
            number += 1

    def _event(self, chance: Random, run: str, number: int, at: float) -> Record:
        """Return an event that the Record accepts.

        Args:
            chance: the random numbers.
            run: differs between runs, so that ids do.
            number: number of the record in the run.
            at: event time, seconds since the epoch.
        """
        source, reason = self._source, ""
        for _ in range(TRIES):
            fields = {}
            for name, (typ, optional) in self._fields.items():
                if name == source.time_field:
                    fields[name] = _time(source, at)
                elif name == source.key:
                    fields[name] = self._key(name, typ, int(KEYS * chance.random() ** 3))
                elif name in self._ids:
                    fields[name] = self._id(name, typ, run, number)
                elif not _left_out(chance, typ, optional):
                    fields[name] = self._value(chance, typ, name)
            value = msgspec.json.encode(fields)
            (event,) = source.decode([Unsent(value, int(at * 1000))], f"{source.topic}/0")
            if not isinstance(event, Invalid):
                return Record(str(getattr(event, source.key)).encode(), value, at)
            reason = event.reason
        raise CannotMakeUpError(self._record, "a value", f"is not valid: {reason.rstrip('.')}")

    def _damaged(self, chance: Random, event: Record) -> Record:
        """Return an event with a fault: it is cut off, lacks a field, or a field has another type."""
        assert event.value is not None
        fields = msgspec.json.decode(event.value, type=dict[str, msgspec.Raw])
        name = list(fields)[int(chance.random() * len(fields))]
        lacks = {other: value for other, value in fields.items() if other != name}
        fault = int(chance.random() * 3)
        if fault < 2:
            value = msgspec.json.encode(lacks if fault else fields | {name: OTHER_TYPE})
            # With its key, from which a field may come.
            unsent = Unsent(value, int(event.event_time * 1000), key=event.key)
            (found,) = self._source.decode([unsent], f"{self._source.topic}/0")
            if isinstance(found, Invalid):  # not so without an optional field
                return event._replace(value=value)
        return event._replace(value=event.value[:-1])

    def _key(self, name: str, typ: Any, number: int) -> Any:
        typ = some(typ)
        if isinstance(typ, inspect.LiteralType):
            return typ.values[number % len(typ.values)]
        if isinstance(typ, inspect.IntType):
            step, first, count = multiples(typ)
            return step * (first + number % count)
        if isinstance(typ, inspect.StrType) and typ.pattern is not None:
            return self._matching(Random(number), typ, name)  # noqa: S311 (as above) # nosec B311
        return fitted(f"{name}-{number:04d}", f"{number:02d}", typ)

    def _id(self, name: str, typ: Any, run: str, number: int) -> Any:
        typ, unique = some(typ), f"{run}-{number}"
        if isinstance(typ, inspect.IntType):
            step, first, count = multiples(typ, default=(1 << 63) - 1)
            begin = int.from_bytes(blake2b(run.encode(), digest_size=8).digest())
            return step * (first + (begin + number) % count)
        if isinstance(typ, inspect.UUIDType):
            return str(UUID(bytes=blake2b(unique.encode(), digest_size=16).digest(), version=4))
        if typ.pattern is not None:
            return self._matching(Random(unique), typ, name)  # noqa: S311 (as above) # nosec B311
        return fitted(f"{name}-{unique}", unique.replace("-", ""), typ)

    def _value(self, chance: Random, typ: Any, name: str) -> Any:  # noqa: PLR0911, PLR0912 (one a type)
        """Return a value of a type, as JSON has it."""
        typ = some(typ)
        match typ:
            case inspect.LiteralType():
                return typ.values[int(chance.random() * len(typ.values))]
            case inspect.EnumType():
                return list(typ.cls)[int(chance.random() * len(typ.cls))].value
            case inspect.BoolType():
                return chance.random() < 0.5
            case inspect.IntType():
                step, first, count = multiples(typ)
                return step * (first + int(chance.random() * count))
            case inspect.FloatType():
                return floating(chance, typ)
            case inspect.StrType():
                return self._text(chance, typ, name)
            case inspect.DecimalType():
                return f"{chance.random() * 100:.2f}"
            case inspect.DateTimeType() | inspect.DateType() | inspect.TimeType():
                return self._moment(chance, typ)
            case inspect.TimeDeltaType():
                return f"PT{int(chance.random() * 3600)}S"
            case inspect.UUIDType():
                return str(UUID(int=chance.getrandbits(128), version=4))
            case inspect.BytesType() | inspect.ByteArrayType() | inspect.MemoryViewType():
                return b64encode(chance.randbytes(length(chance, typ))).decode()
            case inspect.ListType() | inspect.SetType() | inspect.FrozenSetType() | inspect.VarTupleType():
                return [self._value(chance, typ.item_type, name) for _ in range(length(chance, typ))]
            case inspect.TupleType():
                return [self._value(chance, one, name) for one in typ.item_types]
            case inspect.DictType():
                return {
                    self._entry(chance, typ.key_type, f"{name}{n}"): self._value(chance, typ.value_type, name)
                    for n in range(length(chance, typ))
                }
            case inspect.StructType() | inspect.TypedDictType() | inspect.DataclassType():
                return {
                    one.encode_name: self._value(chance, one.type, one.name)
                    for one in typ.fields
                    if not _left_out(chance, one.type, not one.required)
                }
            case inspect.NamedTupleType():
                return [self._value(chance, one.type, one.name) for one in typ.fields]
            case inspect.NoneType():
                return None
            case inspect.AnyType():
                return int(chance.random() * 100)
            case inspect.CustomType() if typ.cls is EventTime:
                return round(1.7e9 + chance.random() * 1e6, 3)
        raise CannotMakeUpError(
            self._record, name, f"has a type without made-up values ({type(typ).__name__})"
        )

    def _entry(self, chance: Random, typ: Any, name: str) -> str:
        """Return the key of a dictionary's entry."""
        typ = some(typ)
        free = (
            isinstance(typ, inspect.StrType)
            and typ.pattern is None
            and not (typ.min_length or typ.max_length)
        )
        return name if free or isinstance(typ, inspect.AnyType) else str(self._value(chance, typ, name))

    def _text(self, chance: Random, typ: inspect.StrType, name: str) -> str:
        if typ.pattern is not None:
            return self._matching(chance, typ, name)
        number = int(chance.random() * 50)
        return fitted(f"{name} {number}", f"{number:02d}", typ)

    def _matching(self, chance: Random, typ: inspect.StrType, name: str) -> str:
        """Return a text of a pattern and of an allowed length."""
        pattern, least = str(typ.pattern), typ.min_length or 0
        most = least + SPARE if typ.max_length is None else typ.max_length
        why = f"none of {TEXT_TRIES} has {least} to {most} characters"
        try:
            for _ in range(TEXT_TRIES):
                text = Texts(chance, chance.randint(min(least, most), most)).xeger(pattern)
                if least <= len(text) and (typ.max_length is None or len(text) <= most):
                    return str(text)
        except Exception as exc:  # of a library that reads any pattern: whatever it does not know
            why = str(exc)
        raise CannotMakeUpError(
            self._record, name, f"has the pattern {pattern!r}, of which no text can be made ({why})"
        )

    def _moment(self, chance: Random, typ: Any) -> str:
        moment = datetime.fromtimestamp(int(1.7e9 + chance.random() * 1e7), UTC)
        if isinstance(typ, inspect.DateType):
            return moment.date().isoformat()
        if isinstance(typ, inspect.TimeType):
            return moment.time().isoformat() + ("Z" if typ.tz else "")
        return moment.replace(tzinfo=None).isoformat() + ("" if typ.tz is False else "Z")


def _left_out(chance: Random, typ: Any, optional: bool) -> bool:
    return optional and may_be_none(typ) and chance.random() < ABSENT_SHARE


def _id_fields(source: Source) -> set[str]:
    """Return the fields whose values are unique: those that tables deduplicate by, else those named so."""
    found = {table.id_field for table in source.tables if getattr(table, "id_field", None)}
    if not found:
        names = source.record._options.fields
        found = {name for name in names if name in ("event_id", "id") or name.endswith("_id")}
        found = found & {"event_id", "id"} or found
    return found - {source.key, source.time_field}


def _time(source: Source, at: float) -> Any:
    typ = present(Layout(source.record).types[source.time_field])
    if typ is EventTime:
        return (
            datetime.fromtimestamp(round(at, 3), UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z")
        )
    return int(at) if typ is int else round(at, 3)
