"""The table, and what one must know to judge it."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.command import table
from bench.contest import Result
from bench.contestants import Contestant
from bench.worker import BenchError
from bench.workload import Workload

COLUMNS = (
    "contestant",
    "events",
    "events/s",
    "events per CPU-second",
    "peak RSS, MiB",
    "Millstream / it, events/s",
    "Millstream / it, per CPU-second",
)
OURS = "millstream"
# What Millstream must at least be of another's figure.
TARGETS = (
    ("streams", "cpu_rate", 2.5),
    ("streams", "rate", 1.8),
    ("loop", "cpu_rate", 1.2),
    ("plain", "rate", 50),
)
# What a job may at most cost Millstream, as a multiple of another's in the same run.
LIMITS = (("hopping", "tumbling", 2), ("hopping-dense", "tumbling-dense", 2))
WORDS = {"rate": "events/s", "cpu_rate": "events per CPU-second"}

Results = Mapping[Contestant, Sequence[Result]]


@dataclass(frozen=True)
class Run:
    """What a report is of.

    Attributes:
        workload: what was drained.
        seed: of the events.
        kafka: which Kafka it was.
        machine: what it ran on, in a line.
        date: when it began.
    """

    workload: Workload
    seed: int
    kafka: str
    machine: str
    date: str


def report(results: Results, run: Run) -> str:
    """Write all of it in Markdown; of several runs, medians are shown."""
    problems = [
        f"VOID: {contestant.name}: {line}"
        for contestant, runs in results.items()
        for result in runs
        for line in result.problems
    ]
    right = f"The outputs of all {sum(map(len, results.values()))} runs are right: {run.workload.checked}."
    return "\n".join(
        [
            f"# Drain rate of one worker, {run.workload.name}, {run.date}",
            "",
            *_table(results),
            "",
            *(problems or [*_verdicts(results), right]),
            "",
            *_conditions(results, run),
        ]
    )


def costs(results: Mapping[str, Results]) -> list[str]:
    """Compare what an event costs Millstream in jobs, by the names of the workloads."""
    ours = {
        name: runs
        for name, by_contestant in results.items()
        for contestant, runs in by_contestant.items()
        if contestant.key == OURS and not _void(runs)
    }
    lines = []
    for name, other, limit in LIMITS:
        if name in ours and other in ours:
            time, cpu = (_ratio(ours[other], ours[name], what) for what in WORDS)
            above = "" if max(time, cpu) <= limit else "ABOVE THE LIMIT: "
            lines.append(
                f"{above}an event of the job {name} costs Millstream {time:.2f} times the time and {cpu:.2f} "
                f"times the CPU time of one of {other}; {limit} is the limit."
            )
    return lines


def _table(results: Results) -> list[str]:
    ours = next((runs for contestant, runs in results.items() if contestant.key == OURS), [])
    rows: list[Sequence[str]] = [COLUMNS]
    for contestant, runs in results.items():
        numbers = ["void"] * 5
        if not _void(runs):
            numbers = [
                f"{_median(runs, 'rate'):,.0f}",
                f"{_median(runs, 'cpu_rate'):,.0f}",
                f"{_median(runs, 'peak_rss') / 2**20:,.0f}",
                *("-" if _void(ours) else f"{_ratio(ours, runs, what):.2f}" for what in WORDS),
            ]
        rows.append([contestant.name, f"{runs[0].events:,}", *numbers])
    return table(rows)


def _verdicts(results: Results) -> list[str]:
    by_key = {contestant.key: (contestant, runs) for contestant, runs in results.items()}
    lines = []
    for key, what, target in TARGETS:
        if OURS in by_key and key in by_key:
            other, runs = by_key[key]
            ratio = _ratio(by_key[OURS][1], runs, what)
            below = "" if ratio >= target else "BELOW THE TARGET: "
            lines += [
                f"{below}Millstream / {other.name} in {WORDS[what]}: {ratio:.2f}, target {target:g}.",
                "",
            ]
    return lines


def _conditions(results: Results, run: Run) -> list[str]:
    commits = ", ".join(one.name for one in results if one.by_commits)
    outputs = ", ".join(one.name for one in results if not one.by_commits)
    slow = [
        f"; {one.name}, far slower, drains the first {runs[0].events:,} of them"
        for one, runs in results.items()
        if one.slow
    ]
    return [
        f"- machine: {run.machine}",
        f"- versions: Python {platform.python_version()}, Kafka {run.kafka}",
        *(f"  - {one.name}: {_versions(one)}" for one in results),
        f"- events: {run.workload.facts}; seed {run.seed}{''.join(slow)}",
        "- settings:",
        *(f"  - {one.name}: {one.settings}" for one in results),
        "- runs: each in turn, every other round backwards, each with topics of its own, filled before the "
        "worker starts; in the table are medians of these events/s (and per CPU-second):",
        *(f"  - {one.name}: {_rates(runs)}" for one, runs in results.items()),
        "- measured: time and CPU time of the process with all its threads and children, "
        "from the first progress seen to the last but one: both are as far behind the work; progress is, for "
        f"{commits or 'nobody'}, the committed source offsets, and for {outputs or 'nobody'}, the records in "
        f"`{run.workload.output}`, since they commit seconds after, or not to Kafka. Kafka's own CPU time "
        "does not count",
        "- from half of the events on, when the JVM is warm and all others are, too:",
        *(f"  - {one.name}: {_rates(runs, 'late_')}" for one, runs in results.items()),
        "- peak RSS: of the process and its children, the largest of each, at the last event",
        *_sizes(results),
    ]


def _sizes(results: Results) -> list[str]:
    last = {one: runs[-1].size for one, runs in results.items()}
    lines = [
        f"  - {one.name}: {size.disk / size.rows:,.0f} and {size.log / size.rows:,.0f}, {size.rows:,} of them"
        for one, size in last.items()
        if size is not None
    ]
    head = (
        "- bytes for each key and window in the state, at the end of the last run: RocksDB's files, and the "
        "logs that restore them (keys and values, of each key the newest, before compression):"
    )
    return [head, *lines] if lines else []


def _rates(runs: Sequence[Result], part: str = "") -> str:
    return " ".join(
        "void" if run.problems else _rate(getattr(run, f"{part}rate"), getattr(run, f"{part}cpu_rate"))
        for run in runs
    )


def _rate(rate: float, cpu_rate: float) -> str:
    return f"{rate:,.0f}/s ({cpu_rate:,.0f})" if rate else "in one go"


def _versions(contestant: Contestant) -> str:
    try:
        return contestant.versions()
    except BenchError:  # what could not be built has none
        return "not there"


def _void(runs: Sequence[Result]) -> bool:
    return not runs or any(run.problems for run in runs)


def _ratio(runs: Sequence[Result], others: Sequence[Result], what: str) -> float:
    return _median(runs, what) / _median(others, what)


def _median(runs: Sequence[Result], what: str) -> float:
    return float(median(getattr(run, what) for run in runs))
