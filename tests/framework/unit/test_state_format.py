"""The format number in fences and positions: an unknown one stops the worker, whoever reads it."""

from typing import Any, cast

import msgspec
import pytest

from millstream.state.errors import UnknownFormatError
from millstream.state.log import FENCE, FORMAT, FORMAT_HEADER, POSITION, Entry, Position, entry
from millstream.state.replica import Changes, Replica
from millstream.state.state import State
from millstream.testing.memory_log import MemoryLog
from millstream.testing.memory_store import MemoryStore

LATER = b"%d" % (FORMAT + 1)


def state_of(log: MemoryLog, rows: dict[bytes, bytes]) -> State:
    return State(cast(Any, log), cast(Any, MemoryStore(rows)), ())


async def committed(log: MemoryLog, rows: dict[bytes, bytes]) -> State:
    state = state_of(log, rows)
    await state.acquire()
    changes = Changes()
    changes.rows[b"t\0a"] = b"1"
    state.stage(changes)
    await state.commit(changes, Position({"t": 7}, 12.5, 3, (1, 2, 3)))
    return state


async def test_fences_and_positions_carry_the_format() -> None:
    log = MemoryLog()
    await committed(log, {})
    fence, *_, position = log.records
    assert fence.key == FENCE
    assert dict(fence.headers)[FORMAT_HEADER] == b"%d" % FORMAT
    assert position.key == POSITION
    assert msgspec.msgpack.decode((position.value or b"")[8:])[-1] == FORMAT


async def test_a_log_from_before_formats_were_numbered_is_read() -> None:
    log = MemoryLog()
    epoch = await log.append([Entry(FENCE, b"", [])])
    old = msgspec.msgpack.encode([{"t": 7}, 12.5, 3, [1, 2, 3]])
    await log.append([entry(epoch, b"t\0a", b"1"), entry(epoch, POSITION, old)])
    state = state_of(log, {})
    await state.acquire()
    assert state.position == Position({"t": 7}, 12.5, 3, (1, 2, 3))
    assert state.get_committed(b"t\0a") == b"1"


async def read(state: Replica, log: MemoryLog) -> None:
    if isinstance(state, State):
        await state.acquire()
    else:
        state.apply(cast(Any, log.records), log.end)


def later_positions() -> list[bytes]:
    alike: list[Any] = [{"t": 7}, 12.5, 3, [1, 2, 3], FORMAT + 1]
    otherwise: list[Any] = ["all", "is", "laid out", "anew", FORMAT + 1, {"more": True}]
    return [msgspec.msgpack.encode(fields) for fields in (alike, otherwise)]


def later_entries() -> list[Entry]:
    values: list[Any] = [LATER, b"0", b"", b"x", b"9" * 5000, None]  # Kafka's headers may be null
    fences = [Entry(FENCE, b"", [(FORMAT_HEADER, value)]) for value in values]
    return fences + [entry(0, POSITION, raw) for raw in later_positions()]


@pytest.mark.parametrize("written", later_entries())
@pytest.mark.parametrize("kind", ["owner", "standby"])
async def test_an_unknown_format_in_the_log_is_refused(written: Entry, kind: str) -> None:
    log, rows = MemoryLog(), dict[bytes, bytes]()
    await log.append([Entry(FENCE, b"", [])])
    await log.append([written])
    before = dict(rows)
    state = state_of(log, rows) if kind == "owner" else Replica("", cast(Any, MemoryStore(rows)), ())
    with pytest.raises(UnknownFormatError, match=r"a later version of Millstream; .* a downgrade is not"):
        await read(state, log)
    assert rows.keys() - before.keys() <= {b"\0topic"}  # no row of an unknown format


@pytest.mark.parametrize("raw", later_positions())
async def test_an_unknown_format_on_disk_is_refused(raw: bytes) -> None:
    log, rows = MemoryLog(), dict[bytes, bytes]()
    await committed(log, rows)
    rows[POSITION] = raw
    with pytest.raises(UnknownFormatError):
        state_of(log, rows)


@pytest.mark.parametrize("broken", [[7, 12.5, 3, [1, 2, 3], FORMAT], [7], 7, {"a": 1}, None])
def test_a_broken_position_is_no_unknown_format(broken: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        Position.decode(msgspec.msgpack.encode(broken))
