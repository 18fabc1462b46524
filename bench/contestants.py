"""Who takes part: how each is started, measured and set."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from bench import build


@dataclass(frozen=True)
class Contestant:
    """A program that drains a topic.

    Attributes:
        key: for the command line.
        name: for the table.
        command: makes the command line; what must be built is built by it.
        by_commits: whether it is measured by its committed offsets, else by its outputs in Kafka.
        onward: whether it reads these outputs, too: their committed offsets count as well.
        settings: what it is set to beyond its defaults, in a few words.
        versions: what it is made of.
        slow: whether it gets fewer events.
        extra: whether it takes part only in `make bench-full`, or when it is named.
        env: settings for it alone.
    """

    key: str
    name: str
    command: Callable[[], Sequence[str]]
    by_commits: bool
    settings: str
    versions: Callable[[], str]
    slow: bool = False
    extra: bool = False
    onward: bool = False
    env: Mapping[str, str] = field(default_factory=dict, hash=False)


def faust(app: str) -> Callable[[], Sequence[str]]:
    """Start a Faust worker."""
    return lambda: [sys.executable, "-m", "faust", "-A", app, "worker", "-l", "info"]


def module(name: str) -> Callable[[], Sequence[str]]:
    """Run a module in our own environment."""
    return lambda: [sys.executable, "-m", name]


def peer(name: str) -> Callable[[], Sequence[str]]:
    """Run a module in the peers' environment."""
    return lambda: [str(build.environment()), "-m", name]


def java(topology: str) -> Callable[[], Sequence[str]]:
    """Run a Kafka Streams topology."""
    return lambda: [build.java(), "-Xmx1g", "-cp", f"{build.streams()}/*", "bench.Main", topology]


def ours(*packages: str) -> Callable[[], str]:
    """Versions of packages in our own environment."""
    return lambda: ", ".join(f"{name} {version(name)}" for name in packages)


def theirs(*packages: str) -> Callable[[], str]:
    """Versions of packages in the peers' environment."""
    pinned = dict(re.findall(r"^(\S+)==(\S+)", build.REQUIREMENTS.read_text(), re.MULTILINE))
    return lambda: ", ".join(f"{name} {pinned[name]}" for name in packages)


def jars(*names: str) -> Callable[[], str]:
    """Versions of jars that Kafka Streams runs with."""

    def versions() -> str:
        files = [next(build.streams().glob(f"{name}-[0-9]*.jar")) for name in names]
        return ", ".join(re.sub(r"-(\d)", r" \1", Path(file).stem, count=1) for file in files)

    return versions


STREAMS_SETTINGS = (
    "one thread, caching on (64 MiB), lz4, batches of 256 KiB, linger 100 ms (its default), heap up to 1 GiB"
)
STREAMS_JARS = jars("kafka-streams", "rocksdbjni", "jackson-databind")


def streams(
    topology: str, *, by_commits: bool = False, settings: str = "", slow: bool = False
) -> tuple[Contestant, Contestant]:
    """Kafka Streams at its default guarantee, and exactly once.

    Args:
        topology: which of the program's.
        by_commits: how the first is measured; by default it commits every 30 s. The second commits ten
            times a second, and the markers of its transactions count as records.
        settings: of it in Kafka's own names, `name=value` with commas.
        slow: whether they get fewer events.
    """
    more = f", {settings}" if settings else ""
    exact = "processing.guarantee=exactly_once_v2"
    return (
        Contestant(
            key="streams",
            name="Kafka Streams",
            command=java(topology),
            by_commits=by_commits,
            settings=f"{STREAMS_SETTINGS}, at_least_once (its default){more}",
            versions=STREAMS_JARS,
            slow=slow,
            env={"BENCH_STREAMS": settings},
        ),
        Contestant(
            key="streams-exact",
            name="Kafka Streams, exactly once",
            command=java(topology),
            by_commits=True,
            settings=f"the same, {exact}",
            versions=STREAMS_JARS,
            slow=slow,
            extra=True,
            env={"BENCH_STREAMS": exact},
        ),
    )


MILLSTREAM_PACKAGES = ours("millstream", "faust-streaming", "aiokafka", "rocksdict", "msgspec", "uvloop")
LOOP_PACKAGES = ours("confluent-kafka", "orjson", "rocksdict")
LOOP_SETTINGS = "batches of up to 10,000, acks=all, idempotent, lz4, RocksDB with a time to live"
PLAIN_SETTINGS = "its defaults, with RocksDB and uvloop"

MILLSTREAM = Contestant(
    key="millstream",
    name="Millstream",
    command=faust("app"),
    by_commits=True,
    settings="its defaults, with the agent of the job (MILLSTREAM_AGENTS=activity)",
    versions=MILLSTREAM_PACKAGES,
    env={"MILLSTREAM_AGENTS": "activity"},
)
TOTALS = replace(
    MILLSTREAM,
    key="millstream-totals",
    name="Millstream, page totals too",
    settings="its defaults: besides the job it sums up the page totals over the partitions, as no other does",
    extra=True,
    env={},
)
ALL_AGENTS = Contestant(
    key="millstream-all",
    name="Millstream, all agents",
    command=faust("app"),
    by_commits=True,
    settings="with sessions, users per minute, sales per day and top pages (MILLSTREAM_AGENTS); done when "
    "the enriched events are, too",
    versions=MILLSTREAM_PACKAGES,
    extra=True,
    onward=True,
    env={"MILLSTREAM_AGENTS": "activity,page_totals,users,totals"},
)
PLAIN = Contestant(
    key="plain",
    name="plain Faust",
    command=faust("bench.peers.plain"),
    # It commits every 2.8 s, behind what it has done.
    by_commits=False,
    settings=PLAIN_SETTINGS,
    versions=ours("faust-streaming", "aiokafka"),
    slow=True,
)
LOOP = Contestant(
    key="loop",
    name="loop by hand",
    command=module("bench.peers.loop_activity"),
    by_commits=True,
    settings=LOOP_SETTINGS,
    versions=LOOP_PACKAGES,
)
BYTEWAX = Contestant(
    key="bytewax",
    name="Bytewax",
    command=peer("bench.peers.bytewax"),
    # Its offsets are in its own recovery store.
    by_commits=False,
    settings="one worker, batches of up to 10,000, acks=all, idempotent, lz4, snapshots to SQLite every 10 s "
    "(its default) instead of a changelog",
    versions=theirs("bytewax", "confluent-kafka", "orjson"),
    extra=True,
)
QUIX = Contestant(
    key="quix",
    name="Quix Streams",
    command=peer("bench.peers.quix"),
    # It commits every 5 s.
    by_commits=False,
    settings="its defaults (RocksDB with changelogs, commits every 5 s), acks=all, idempotent, lz4",
    versions=theirs("quixstreams", "confluent-kafka", "orjson"),
    slow=True,
    extra=True,
)


def windows(kind: str, *, slow: bool = False) -> tuple[Contestant, ...]:
    """Those with a kind of window; `slow` is whether Kafka Streams gets fewer events."""
    return (
        replace(MILLSTREAM, command=faust(f"bench.windows.{kind}"), settings="its defaults", env={}),
        *streams(kind, by_commits=True, settings="commit.interval.ms=1000", slow=slow),
    )


CONTESTANTS: Mapping[str, Sequence[Contestant]] = {
    "activity": (MILLSTREAM, *streams("activity"), LOOP, BYTEWAX, QUIX, PLAIN, TOTALS, ALL_AGENTS),
    "ads": (
        replace(MILLSTREAM, command=faust("bench.yahoo.app"), settings="its defaults", env={}),
        *streams("ads", by_commits=True, settings="commit.interval.ms=1000"),
        replace(LOOP, command=module("bench.yahoo.loop")),
        # It sends a count for each view.
        replace(PLAIN, command=faust("bench.yahoo.plain")),
    ),
    "tumbling": windows("tumbling"),
    # It puts an event into each of sixty windows.
    "hopping": windows("hopping", slow=True),
    "sessions": windows("sessions"),
    # What the one costs beside the other, where a window that closes holds more than one new event.
    "tumbling-dense": windows("tumbling")[:1],
    "hopping-dense": windows("hopping")[:1],
}
"""By workload, in the order of the table."""
