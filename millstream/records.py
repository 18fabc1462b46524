"""Builds fast, strict decoders from `faust.Record` classes.

A Record's *twin* is a `msgspec.Struct` with the Record's fields, types, constraints and defaults. Creating
and decoding it is some thirty times faster than with the Record, and values are validated while they are
decoded.
"""

import inspect
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast, overload

import faust
import msgspec

from millstream.errors import DeclarationError
from millstream.fields import hidden, parted

R = TypeVar("R", bound=faust.Record)

# A larger number cannot be seconds (year 5138); as milliseconds it is from the year 1973 on.
MILLISECONDS_FROM = 1e11


class _Float(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, float)


if TYPE_CHECKING:
    EventTime = float
else:

    class EventTime(metaclass=_Float):
        """Type of a Record's time field: a float, seconds since the epoch, UTC.

        In JSON it is ISO-8601 text (UTC if there is no zone), or a number of seconds or milliseconds.
        """


def event_time(value: object) -> float:
    """Parse a time in any of its forms.

    Returns:
        Seconds since the epoch, UTC.

    Raises:
        TypeError: it is neither text nor a number.
        ValueError: it is not ISO-8601, or before 1970.
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
    """An invalid value: it is not an event.

    Attributes:
        code: stable identifier for programs, one of `CODES`.
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


class Layout:
    """The fields of a Record, as a decoder needs them.

    Attributes:
        types: the fields' types, by name, those without a default first; without their `From`.
        defaults: the defaults of the others.
    """

    def __init__(self, record: Any) -> None:
        options = record._options
        optional = options.optionalset
        names = sorted(options.fields, key=lambda name: name in optional)  # stable: else as declared
        self.types = {name: parted(options.fields[name])[0] for name in names}
        self.defaults = {name: options.defaults.get(name) for name in names if name in optional}


def struct_of(record: Any) -> type[msgspec.Struct]:
    """Return the struct of a Record: the class of the events that a decoder returns.

    Raises:
        DeclarationError: a field has a type that cannot be decoded.
    """
    return _struct_of(record)


@cache
def _struct_of(record: Any) -> type[msgspec.Struct]:
    # msgspec parses nearly all times itself, much faster; the decoder converts them to seconds.
    return make_struct(record, {EventTime: datetime | float})


def make_struct(record: Any, instead: Mapping[Any, Any]) -> type[msgspec.Struct]:
    """Make a struct of a Record's fields; some types are replaced.

    Raises:
        DeclarationError: a field has a type that cannot be decoded.
    """
    layout = Layout(record)
    fields: list[Any] = []
    for name, typ in layout.types.items():
        if hidden(typ):
            raise DeclarationError(
                f"{record.__name__}.{name}: `From` belongs to the whole field: Annotated[str | None, From(…)]"
            )
        wire = wire_type(instead.get(typ, typ), f"{record.__name__}.{name}")
        fields.append((name, wire, layout.defaults[name]) if name in layout.defaults else (name, wire))
    # gc=False: events have no reference cycles, so the collector need not traverse thousands of them.
    struct = msgspec.defstruct(record.__name__, fields, module=record.__module__, gc=False)
    _check_types(record, struct)
    return struct


def wire_type(typ: Any, of: str) -> Any:
    """Return a type with each Record in it replaced by its struct.

    Args:
        typ: the type of a field.
        of: `Record.field`, for messages.

    Raises:
        DeclarationError: the Records contain each other.
    """
    if inspect.isclass(typ) and typing.get_origin(typ) is None and issubclass(typ, faust.Record):
        try:
            return make_struct(typ, {})
        except RecursionError:
            raise DeclarationError(f"{of}: a Record cannot contain itself") from None
    inner = typing.get_args(typ)
    origin = typing.get_origin(typ)
    if not inner or origin is typing.Literal:
        return typ
    if origin is Annotated:
        return Annotated[(wire_type(inner[0], of), *inner[1:])]
    replaced = tuple(wire_type(one, of) for one in inner)
    if replaced == inner:
        return typ
    return typing.Union[replaced] if origin in (typing.Union, types.UnionType) else origin[replaced]  # noqa: UP007 (made at run time)


def _check_types(record: Any, struct: type[msgspec.Struct]) -> None:
    try:
        info = msgspec.inspect.type_info(struct)
    except (TypeError, ValueError) as exc:
        raise DeclarationError(f"the fields of {record.__name__} cannot be decoded: {exc}") from None
    for field in cast(msgspec.inspect.StructType, info).fields:
        if unknown := [one for one in _parts(field.type) if isinstance(one, msgspec.inspect.CustomType)]:
            typ = unknown[0].cls
            if typ is not EventTime:
                raise DeclarationError(
                    f"{record.__name__}.{field.name} has the type {typ.__name__}, which JSON has no form "
                    "for: use text, numbers, bool, EventTime, datetime, lists and dicts of these, or a Record"
                )


def _parts(info: Any) -> list[Any]:
    """Return a type and the types in it; the structs in it have been checked."""
    inner = [getattr(info, name, None) for name in ("item_type", "key_type", "value_type", "type")]
    inner += getattr(info, "types", None) or getattr(info, "item_types", None) or ()
    return [info, *(part for one in inner if isinstance(one, msgspec.inspect.Type) for part in _parts(one))]


@cache
def _twin(record: Any, of: Any) -> Callable[..., Any]:
    layout = Layout(record)
    taken = [name for name in layout.types if of is not None and name in of._options.fields]
    given = [name for name in layout.types if name not in taken]
    arguments = ["event"] if of is not None else []
    arguments += ["*"] * bool(given)
    arguments += [f"{name}=_defaults[{name!r}]" if name in layout.defaults else name for name in given]
    fresh = {name for name, value in layout.defaults.items() if isinstance(value, list | dict | set)}
    values = [
        f"event.{name}" if name in taken else f"{name}.copy()" if name in fresh else name
        for name in layout.types
    ]
    # msgspec takes a microsecond for a dozen fields by name, a function of Python a quarter.
    text = f"def {record.__name__}({', '.join(arguments)}):\n    return _struct({', '.join(values)})"
    space: dict[str, Any] = {"_struct": struct_of(record), "_defaults": layout.defaults}
    exec(text, space)  # noqa: S102 (names of a class's fields, as in dataclasses) # nosec B102
    made = cast("Callable[..., Any]", space[record.__name__])
    made.__doc__ = f"Make a {record.__name__} as `commit.send` takes it."
    return made


@overload
def twin(record: type[R]) -> type[R]: ...
@overload
def twin(record: type[R], *, of: type[faust.Record]) -> Callable[..., R]: ...
def twin(record: type[R], *, of: type[faust.Record] | None = None) -> Callable[..., R]:
    """Return what makes a Record's compiled twin: it is called like the Record, with the fields by name.

    A twin has the same attributes as the Record, and takes a thirtieth of the time. Its values are not
    checked; the test driver checks what is sent.

    Args:
        record: the Record.
        of: a Record whose fields the twin takes over: it is called with an event of that one, and with the
            other fields by name.
    """
    # mypy takes a generic class for a function without a hash.
    return cast("Callable[..., R]", _twin(cast(Hashable, record), cast(Hashable, of)))
