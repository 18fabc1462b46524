"""Where a Record's field may come from, other than the field of its name in the value.

class Sale(Record):
    sale_id: Annotated[str, From("id", fallback=Fallback.ORIGIN)]
    user_id: Annotated[str, From("userid", numbers=True)]
    timestamp: Annotated[EventTime, From(fallback=Fallback.RECORD_TIME)]
"""

from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin


class Fallback(Enum):
    """What a field is where the value has none.

    `RECORD_TIME` is the time of the record in Kafka: when a broker appended it, in topics that Millstream
    has created. For an `EventTime`.
    `RECORD_KEY` is the key of the record, as text.
    `CONTENT` is a hash of the value's bytes, 32 hex digits: equal values are the same event.
    `ORIGIN` is `topic/partition/offset` of the record: each record is an event of its own. A dead letter that
    is replayed keeps its first origin.
    """

    RECORD_TIME = "the record's time"
    RECORD_KEY = "the record's key"
    CONTENT = "a hash of the value"
    ORIGIN = "the record's origin"


@dataclass(frozen=True, init=False)
class From:
    """Says where a field may come from; it is put into the field's `Annotated`.

    Attributes:
        names: other names of the field, tried in this order where the value has not the field's own name, or
            `null` there.
        fallback: what the field is where the value has none of the names; None for a field that is missing.
        numbers: whether a whole number is taken as its decimal digits, in a field of text.
    """

    names: tuple[str, ...]
    fallback: Fallback | None
    numbers: bool

    def __init__(self, *names: str, fallback: Fallback | None = None, numbers: bool = False) -> None:
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "fallback", fallback)
        object.__setattr__(self, "numbers", numbers)


def parted(typ: Any) -> tuple[Any, From | None]:
    """Return a field's type without its `From`, and that."""
    if get_origin(typ) is not Annotated:
        return typ, None
    base, *extras = get_args(typ)
    found = next((extra for extra in extras if isinstance(extra, From)), None)
    left = tuple(extra for extra in extras if not isinstance(extra, From))
    return (Annotated[(base, *left)] if left else base), found


def present(typ: Any) -> Any:
    """Return the type of a field's value where it has one: without annotations and without None."""
    inner = [one for one in get_args(typ) if one is not NoneType]
    if get_origin(typ) is Annotated or (get_origin(typ) in (Union, UnionType) and len(inner) == 1):
        return present(inner[0])
    return typ


def hidden(typ: Any) -> bool:
    """Return whether there is a `From` within a type, where it is not the whole field's."""
    return any(isinstance(one, From) or hidden(one) for one in get_args(typ) if not isinstance(one, str))
