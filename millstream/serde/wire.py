"""The form in which Records whose fields may come from elsewhere (`millstream.fields.From`) are decoded."""

from collections.abc import Callable
from copy import copy
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from millstream.errors import DeclarationError
from millstream.fields import Fallback, From, parted, present
from millstream.kafka.headers import first_origin
from millstream.kafka.records import ConsumerRecord
from millstream.records import EventTime, Invalid, Layout, wire_type


class _Field(NamedTuple):
    """Where a field comes from.

    Attributes:
        name: the field's name.
        at: its index in the wire form, and in the event.
        aliases: indices of its other names in the wire form, in order.
        source: its `From`.
        text: its type, if a whole number is taken as text; else None.
        default: what it is where it comes from nowhere; UNSET for a field that must be there.
    """

    name: str
    at: int
    aliases: tuple[int, ...]
    source: From
    text: Any
    default: Any


class WireForm:
    """Decodes values by the names that they have, and fills in what is missing.

    Args:
        decode: decodes a value to the wire form.
        struct: makes the event, of the first values.
        fields: where fields come from.
        size: number of the event's fields.

    Attributes:
        always: whether each value needs it: an optional field has other names or a fallback. A value without
            the field would be valid as it is.
    """

    def __init__(
        self, decode: Callable[[bytes], Any], struct: Any, fields: list[_Field], size: int, *, always: bool
    ) -> None:
        self._decode = decode
        self._struct = struct
        self._fields = fields
        self._size = size
        self.always = always

    def event(self, record: ConsumerRecord, place: str) -> Any:
        """Return the event of a record.

        Args:
            record: the record.
            place: its partition, `topic/number`.

        Raises:
            Invalid: a field is missing, in its record, too.
            msgspec.DecodeError: the value is not valid.
            TypeError: there is no value.
        """
        values = list(msgspec.structs.astuple(self._decode(record.value)))  # type: ignore[arg-type] # a TypeError
        for field in self._fields:
            value = values[field.at]
            for index in field.aliases:
                if value is not UNSET and value is not None:
                    break
                value = values[index]
            if value is UNSET or value is None:
                value = _fallback(field, record, place)
            elif type(value) is int and field.text is not None:
                value = msgspec.convert(str(value), field.text)
            values[field.at] = value
        return self._struct(*values[: self._size])


def wire_form(
    record: Any, struct: type[msgspec.Struct], dec_hook: Callable[[type, Any], Any]
) -> WireForm | None:
    """Return the wire form of a Record; None if no field of it may come from elsewhere.

    Args:
        record: the Record.
        struct: the struct of its events.
        dec_hook: decodes an `EventTime`.

    Raises:
        DeclarationError: two fields have one name, or a field cannot come from where it is to.
    """
    layout = Layout(record)
    sources = {name: source for name, typ in record._options.fields.items() if (source := parted(typ)[1])}
    if not sources:
        return None
    fields: list[Any] = []
    others: list[Any] = []
    rename: dict[str, str] = {}
    found: list[_Field] = []
    for at, (name, typ) in enumerate(layout.types.items()):
        wire, default = wire_type(typ, f"{record.__name__}.{name}"), layout.defaults.get(name, UNSET)
        source = sources.get(name)
        if source is None:
            fields.append((name, wire, default) if name in layout.defaults else (name, wire))
            continue
        _check(record, name, typ, source)
        wire = (wire | int if source.numbers else wire) | None | UnsetType
        fields.append((name, wire, UNSET))
        aliases = []
        for alias in source.names:
            if alias in layout.types or alias in rename.values():
                raise DeclarationError(
                    f"{record.__name__}.{name}: the name {alias!r} is another field's; give each name to "
                    "one field"
                )
            slot = f"alias_{len(others)}"
            rename[slot] = alias
            aliases.append(len(layout.types) + len(others))
            others.append((slot, wire, UNSET))
        found.append(_Field(name, at, tuple(aliases), source, typ if source.numbers else None, default))
    form = msgspec.defstruct(
        f"{record.__name__}Wire", [*fields, *others], kw_only=True, rename=rename, gc=False
    )
    decode = msgspec.json.Decoder(form, dec_hook=dec_hook).decode
    always = any(name in layout.defaults and (s.names or s.fallback) for name, s in sources.items())
    return WireForm(decode, struct, found, len(layout.types), always=always)


def _check(record: Any, name: str, typ: Any, source: From) -> None:
    where, kind = f"{record.__name__}.{name}", present(typ)
    if source.numbers and kind is not str:
        raise DeclarationError(f"{where}: From(numbers=True) is for a field of type str")
    if source.fallback is Fallback.RECORD_TIME and kind is not EventTime:
        raise DeclarationError(f"{where}: Fallback.RECORD_TIME is for a field of type EventTime")
    if source.fallback not in (None, Fallback.RECORD_TIME) and kind is not str:
        raise DeclarationError(f"{where}: {source.fallback} is for a field of type str")


def _fallback(field: _Field, record: ConsumerRecord, place: str) -> Any:
    fallback = field.source.fallback
    if fallback is Fallback.RECORD_TIME:
        return record.timestamp / 1000
    if fallback is Fallback.CONTENT:
        return blake2b(record.value or b"", digest_size=16).hexdigest()
    if fallback is Fallback.ORIGIN:
        return first_origin(record, place)
    if fallback is Fallback.RECORD_KEY and record.key is not None:
        try:
            return record.key.decode()
        except UnicodeDecodeError:
            raise Invalid("wrong-type", f"The record's key, for `{field.name}`, is not UTF-8.") from None
    return _missing(field)


def _missing(field: _Field) -> Any:
    if field.default is not UNSET:
        return copy(field.default)
    names = ", ".join(f"`{name}`" for name in (field.name, *field.source.names))
    also = ", and the record has no key" if field.source.fallback is Fallback.RECORD_KEY else ""
    raise Invalid("missing-field", f"Object missing required field {names}{also}.")
