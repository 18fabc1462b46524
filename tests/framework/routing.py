"""What workers answer for keys, judged by the records of the topics that their tables hold."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from millstream.kafka.partitioner import partition_for
from millstream.sources.record import Record
from tests.framework.asker import Answer, Asker
from tests.framework.chaos.feed import Feed
from tests.framework.service import Service, Worker

# Seconds: a take-over takes ten at most, which tests/framework/chaos/test_takeover.py judges; here five
# processes query and feed on the same cores.
LONGEST = 15.0
PASS_SECONDS = 120

Place = tuple[str, int]
Value = tuple[int, ...]


@dataclass(frozen=True)
class Queried:
    """A table that is queried.

    Attributes:
        topic: where its events come from.
        keyed: whether its key is theirs.
        figures: what an answer says, as figures that only grow.
        width: how many figures.
        unique: whether an answer has one event's figures, not the sum of several.
    """

    topic: str
    keyed: bool
    figures: Callable[[Any], Value]
    width: int = 1
    unique: bool = False


class Change(NamedTuple):
    """What a record changes in a table's key: the newest version of each slot counts."""

    partition: int
    offset: int
    slot: Any
    version: int
    value: Value


@dataclass
class Truth:
    """What each table must say of a key when it holds the events up to some offsets.

    Attributes:
        tables: those that are queried, by name.
        changes: what changes a table's key.
        ends: offsets after the last records, by topic and partition.
    """

    tables: Mapping[str, Queried]
    changes: dict[tuple[str, str], list[Change]] = field(default_factory=lambda: defaultdict(list))
    ends: Counter[Place] = field(default_factory=Counter)

    def read(self, service: Service, topic: str) -> Iterator[Any]:
        """Yield the records of a topic that have a value."""
        for record in service.read(topic):
            self.ends[topic, record.partition] = record.offset + 1
            if record.value is not None:
                yield record

    def add(
        self, table: str, key: str, record: Any, value: Value, *, slot: Any = None, version: int = 0
    ) -> None:
        """Have a record change a table's key; by default, add to what others have changed."""
        slot = (record.partition, record.offset) if slot is None else slot
        self.changes[table, key].append(Change(record.partition, record.offset, slot, version, value))

    def at(self, table: str, key: str, offsets: dict[int, int]) -> Value:
        """Return the figures of a key from the records before the offsets."""
        newest: dict[Any, tuple[int, Value]] = {}
        for partition, offset, slot, version, value in self.changes[table, key]:
            if offset < offsets.get(partition, 0) and (slot not in newest or version > newest[slot][0]):
                newest[slot] = (version, value)
        return added((value for _, value in newest.values()), self.tables[table].width)

    def wrong(self, answer: Answer, floors: "Floors") -> str | None:
        """Return what is wrong with an answer; None if nothing is."""
        table = self.tables[answer.table]
        topic, changes = table.topic, self.changes[answer.table, answer.key]
        if answer.status == 404:
            late = [c for c in changes if c.offset < floors.at(topic, c.partition, answer.sent)]
            return f"not there, though it was committed: {late}" if late else None
        if answer.status != 200 or answer.body["partial"]:
            return f"{answer.status}: {answer.body}"
        parts = answer.body["partitions"]
        numbers = [partition_for(answer.key.encode(), 4)] if table.keyed else list(range(4))
        if [part["partition"] for part in parts] != numbers:
            return f"the partitions are not {numbers}: {parts}"
        offsets = {part["partition"]: part["offset"] or 0 for part in parts}
        for part in parts:
            number, offset = part["partition"], part["offset"] or 0
            if offset > self.ends[topic, number]:
                return f"beyond the end of {number}: {offset}"
            if offset < (known := floors.at(topic, number, answer.sent - part["staleness"])):
                return f"older than what was known of {number}: {offset} < {known} ({part})"
        figures = table.figures(answer.body)
        if table.unique:
            of = [c.value for c in changes if c.offset < self.ends[topic, c.partition]]
            return None if figures in of else f"{figures}, not one of {of}"
        right = self.at(answer.table, answer.key, offsets)
        if all(part["role"] == "owner" for part in parts):
            return None if figures == right else f"{figures}, not {right} at {offsets}"
        most = self.at(answer.table, answer.key, dict.fromkeys(numbers, 1 << 62))
        if all(a <= b <= c for a, b, c in zip(right, figures, most, strict=True)):
            return None
        return f"{figures} of a standby, not from {right} to {most}"


def added(values: Iterable[Value], width: int) -> Value:
    total = [0] * width
    for value in values:
        for i, figure in enumerate(value):
            total[i] += figure
    return tuple(total)


class Floors:
    """How far each partition was known to be at a time: what an owner has answered before."""

    def __init__(self, tables: Mapping[str, Queried], answers: Iterable[Answer]) -> None:
        self._known: dict[Place, tuple[list[float], list[int]]] = defaultdict(lambda: ([], []))
        for answer in sorted(answers, key=lambda answer: answer.came):
            for part in answer.body.get("partitions", ()):
                times, offsets = self._known[tables[answer.table].topic, part["partition"]]
                if part["role"] == "owner":
                    times.append(answer.came)
                    offsets.append(max(part["offset"] or 0, *offsets[-1:], 0))

    def at(self, topic: str, partition: int, moment: float) -> int:
        times, offsets = self._known[topic, partition]
        before = bisect_right(times, moment)
        return offsets[before - 1] if before else 0


Phases = list[tuple[str, float]]


def ask_through_faults(
    service: Service,
    workers: list[Worker],
    keys: Mapping[str, Sequence[str]],
    records: Iterator[Record],
    rate: float,
    **settings: str,
) -> tuple[Asker, Phases]:
    """Query all workers for all keys, under load, while one is added, one is stopped and one is killed.

    Args:
        service: whose source topic is fed.
        workers: three of it.
        keys: the keys of each table.
        records: what is fed.
        rate: records a second.
        settings: of the worker that comes.

    Returns:
        The answers, and when each phase began.
    """
    feed = Feed(service.kafka, service.topic(service.source), records, rate)
    phases: Phases = []
    with Asker(keys) as asker:

        def phase(name: str) -> None:
            phases.append((name, max((one.came for one in asker.answers), default=0.0)))

        for worker in workers:
            asker.add(worker)
        phase("load")
        asker.wait_pass(PASS_SECONDS)
        phase("scale-out")
        more = service.worker("3", **settings)
        more.wait_ready()
        asker.add(more)
        asker.wait_pass(PASS_SECONDS)
        phase("scale-in")
        asker.remove(workers[2])
        assert workers[2].stop() == 0
        asker.wait_pass(PASS_SECONDS)
        phase("kill")
        asker.remove(workers[1])
        workers[1].kill()
        asker.wait_pass(PASS_SECONDS)
    feed.stop()
    assert feed.error is None
    service.workers = [workers[0], more]
    return asker, phases


def judge(truth: Truth, asker: Asker, phases: Phases) -> None:
    """Show what was answered, and fail if anything was wrong, or took too long."""
    floors = Floors(truth.tables, asker.answers)
    verdicts = [(answer, truth.wrong(answer, floors)) for answer in asker.answers]
    bad = [f"{one.url} {one.table}/{one.key}: {why}" for one, why in verdicts if why is not None]
    begins = [began for _, began in phases]
    outages: dict[str, list[float]] = defaultdict(list)
    asked: Counter[str] = Counter()
    standby: Counter[str] = Counter()
    for one in asker.answers:
        name = phases[max(bisect_right(begins, one.sent - one.outage) - 1, 0)][0]
        asked[name] += 1
        standby[name] += any(part.get("role") == "standby" for part in one.body.get("partitions", ()))
        if one.outage:
            outages[name].append(one.came - one.sent + one.outage)
    for name, _ in phases:
        waited = sorted(outages[name])
        figures = f"median {waited[len(waited) // 2]:.2f} s, worst {waited[-1]:.2f} s" if waited else "none"
        print(
            f"\n{name}: {asked[name]} answers, {standby[name]} with a standby's copy; "
            f"outages of keys: {len(waited)} ({figures})",
            end="",
        )
    print(f"\nwrong values: {len(bad)} of {len(verdicts)}; answers in vain: {len(asker.vain)}")
    assert bad == [], "\n".join(bad[:10])
    assert Counter(one.table for one in asker.answers).keys() == truth.tables.keys()
    assert outages["kill"], "nobody asked for what the dead worker had: this run says nothing"
    assert max(max(waits, default=0.0) for waits in outages.values()) <= LONGEST
    reasons = Counter(one.status for one in asker.vain)
    assert set(reasons) <= {503}, [one.body for one in asker.vain if one.status != 503][:3]
