"""The table, and what one must know to judge it."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

from bench.contest import MILLRACE, PLAIN, Contestant, Result
from bench.expected import WORKLOAD

TARGET = 20
PACKAGES = ("millrace", "faust-streaming", "aiokafka", "rocksdict", "msgspec", "uvloop")
COLUMNS = ("contestant", "events", "events/s", "events per CPU-second", "peak RSS, MiB", "times plain Faust")


def machine() -> str:
    """What the bench runs on, in a line."""
    cpu = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    model = next(
        (name.strip() for key, name in cpu.items() if key.strip() == "model name"), platform.machine()
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {model}, {memory:.0f} GiB, {platform.system()} {platform.release()}"


def report(
    results: Mapping[Contestant, Sequence[Result]], *, seed: int, kafka: str, load: float, date: str
) -> str:
    """Write all of it in Markdown.

    Args:
        results: the runs of each contestant; with several, medians are shown.
        seed: of the events.
        kafka: which Kafka it was.
        load: the machine's load average of the minute before.
        date: when it began.
    """
    problems = [
        f"VOID: {contestant.name}: {line}"
        for contestant, runs in results.items()
        for result in runs
        for line in result.problems
    ]
    return "\n".join(
        [
            f"# Drain rate of one worker on a prefilled topic, {date}",
            "",
            *_table(results),
            "",
            *(problems or [_verdict(results), "", *_checked(results)]),
            "",
            *_conditions(results, seed, kafka, load),
        ]
    )


def _table(results: Mapping[Contestant, Sequence[Result]]) -> list[str]:
    rows: list[Sequence[str]] = [COLUMNS]
    for contestant, runs in results.items():
        numbers = ["void"] * 4
        if not _void(runs):
            numbers = [
                f"{_median(runs, 'rate'):,.0f}",
                f"{_median(runs, 'cpu_rate'):,.0f}",
                f"{_median(runs, 'peak_rss') / 2**20:,.0f}",
                "-" if _void(results[PLAIN]) else f"{_ratio(runs, results[PLAIN]):.1f}",
            ]
        rows.append([contestant.name, f"{runs[0].events:,}", *numbers])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"| {name.ljust(widths[0])} | "
        + " | ".join(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        + " |"
        for name, *cells in rows
    ]
    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return [lines[0], f"|{rule}|", *lines[1:]]


def _verdict(results: Mapping[Contestant, Sequence[Result]]) -> str:
    ratio = _ratio(results[MILLRACE], results[PLAIN])
    below = "" if ratio >= TARGET else "BELOW THE TARGET: "
    return f"{below}Millrace is {ratio:.1f} times as fast as plain Faust; {TARGET} times is the target."


def _checked(results: Mapping[Contestant, Sequence[Result]]) -> list[str]:
    runs = sum(map(len, results.values()))
    return [
        f"The outputs of all {runs} runs are right: each valid event enriched once, each invalid one a dead "
        "letter, the views of each page in each minute."
    ]


def _conditions(
    results: Mapping[Contestant, Sequence[Result]], seed: int, kafka: str, load: float
) -> list[str]:
    rates = "; ".join(
        f"{contestant.name} " + " ".join("void" if run.problems else f"{run.rate:,.0f}/s" for run in runs)
        for contestant, runs in results.items()
    )
    return [
        f"- machine: {machine()}; load {load:.1f} before",
        f"- versions: Python {platform.python_version()}, Kafka {kafka}, "
        + ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        f"- events: made up, seed {seed}, {WORKLOAD['rate']:,} a second of event time, "
        f"{WORKLOAD['duplicates']:.0%} repeated, {WORKLOAD['invalid']:.0%} invalid, {WORKLOAD['late']:.0%} "
        f"late, {WORKLOAD['users']:,} users, {WORKLOAD['pages']:,} pages; plain Faust, far slower, drains "
        f"the first {results[PLAIN][0].events:,} of them",
        f"- runs: {len(results[PLAIN])} of each, in turn, each with topics of its own, filled before the "
        f"worker starts; in the table are medians of: {rates}",
        "- settings: the defaults of each; RocksDB and uvloop for both",
        "- measured: Millrace from the first committed offsets to the last; plain Faust from its first "
        "enriched events in Kafka to the last, since it commits seconds later",
    ]


def _void(runs: Sequence[Result]) -> bool:
    return any(run.problems for run in runs)


def _ratio(runs: Sequence[Result], others: Sequence[Result]) -> float:
    return _median(runs, "rate") / _median(others, "rate")


def _median(runs: Sequence[Result], what: str) -> float:
    return float(median(getattr(run, what) for run in runs))
