"""How fast the views answer while the pipeline works: `python -m bench.http`."""

import asyncio
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import click
import orjson

from bench.asked import TURN_SECONDS, TURNS, WARM_SECONDS, Cost, cost
from bench.command import Bench, bench, helpers, leave, table, verdict, workload
from bench.feed import Feed, Feeder
from bench.lag import RISE_SECONDS, Lag, lag
from bench.load import check, drain, fill, load
from bench.service import Service
from bench.worker import BenchError

KEYS = 500
# More events than a worker drains in the time, so that it is not done before.
SPARE = 1.5
WRK_SECONDS = 30  # beyond the time that it is given
# wrk asks for the lines of a file in turn, and tells what came of it as JSON.
SCRIPT = """
local paths, n = {}, 0
for line in io.lines("PATHS") do paths[#paths + 1] = line end
request = function()
  n = n + 1
  return wrk.format("GET", paths[n % #paths + 1])
end
done = function(summary, latency, requests)
  local e = summary.errors
  io.stderr:write(string.format(
    '{"requests":%d,"micros":%d,"p50":%d,"p99":%d,"max":%d,"errors":%d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Answers:
    """What came of asking.

    Attributes:
        count: number of requests.
        rate: requests a second.
        p50, p99, most: latencies in milliseconds.
        errors: number of answers that were none, or not 2xx.
    """

    count: int
    rate: float
    p50: float
    p99: float
    most: float
    errors: int


@dataclass(frozen=True)
class Row:
    """What was measured with some connections.

    Attributes:
        name: of the table that was asked; empty for none.
        connections: how many asked at once.
        answers: what came; None where nothing was asked.
        lag: of the pipeline meanwhile.
        worker: share of a core that the worker used.
    """

    name: str
    connections: int
    answers: Answers | None
    lag: Lag
    worker: float


@click.command()
@click.option("--capacity-events", type=click.IntRange(10_000), default=1_000_000, show_default=True)
@click.option(
    "--share", type=click.IntRange(1, 100), default=50, show_default=True, help="Load, % of capacity."
)
@click.option("--connections", default="1,4,16", show_default=True, help="Numbers of connections.")
@click.option("--warm-seconds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--seconds", type=click.IntRange(2), default=15, show_default=True, help="Of each measurement.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the events.")
def main(
    *, capacity_events: int, share: int, connections: str, warm_seconds: int, seconds: int, seed: int
) -> None:
    """Have wrk ask one worker for table entries, while it works under a share of its capacity.

    wrk is in Debian's and Ubuntu's packages (apt-get install wrk), and in Homebrew.
    """
    if shutil.which("wrk") is None:
        raise click.ClickException("there is no wrk: `make components` installs it")
    try:
        numbers = [int(number) for number in connections.split(",")]
    except ValueError:
        raise click.BadParameter("write numbers with commas: 1,4,16") from None
    with bench("http") as on:
        rate, rows, problems = asyncio.run(
            _measure(on, capacity_events, share / 100, numbers, warm_seconds, seconds, seed)
        )
        drained, more = asyncio.run(_cost(on, rate / share * 100, max(numbers), seed))
        problems += more
        _publish(on, rate, share / 100, rows, drained, max(numbers), problems, seconds, seed)
    leave(problems)


async def _measure(
    on: Bench,
    count: int,
    share: float,
    numbers: Sequence[int],
    warm: float,
    seconds: int,
    seed: int,
) -> tuple[float, list[Row], list[str]]:
    click.echo(f"capacity: {count:,} events… ", nl=False, err=True)
    drained, problems = await drain(on.kafka, on.folder / "capacity", count, seed)
    click.echo(f"{drained.rate:,.0f}/s", err=True)
    rate = share * drained.rate
    rows = []
    async with Service(on.kafka, on.folder / "http") as service:
        service.start()
        # Event time goes as fast as ours: what wrk asks for must not expire meanwhile.
        feeder = Feeder(seed, service.partitions, rate)
        await service.ready()
        with helpers(1) as pool:
            for name, connections in [("", 0), *((n, c) for n in ("seen", "page-views") for c in numbers)]:
                click.echo(f"{name or 'nothing'}, {connections} connections: ", nl=False, err=True)
                row = await _row(service, pool, feeder, on.folder, name, connections, rate, warm, seconds)
                told = "" if row.answers is None else f"{row.answers.rate:,.0f} requests/s, "
                click.echo(f"{told}lag {row.lag.mean:,.0f}, {row.lag.growth:+,.0f}/s", err=True)
                rows.append(row)
                if row.answers is not None and row.answers.errors:
                    problems.append(f"{row.answers.errors:,} requests to {name} failed")
        return rate, rows, problems + await check(service, feeder.expected)


async def _row(
    service: Service,
    pool: Executor,
    feeder: Feeder,
    folder: Path,
    name: str,
    connections: int,
    rate: float,
    warm: float,
    seconds: int,
) -> Row:
    count = int((warm + seconds + 1) * rate)
    # Keys from the first half of the warm-up: they are in the tables when they are asked for.
    probes = [int(n * warm / 2 * rate / KEYS) for n in range(KEYS)]
    feed = await asyncio.to_thread(feeder.feed, folder / "feed", count, probes)
    async with load(service, pool, feed, rate) as running:
        await running.until(warm)
        cpu = service.workers[0].cpu_seconds()
        if connections:
            paths = folder / "paths"
            await asyncio.to_thread(_write, paths, name, feed, feeder)
            answers, found = await asyncio.gather(
                asyncio.to_thread(_ask, service.urls[0], folder, connections, seconds), lag(service, seconds)
            )
        else:
            answers, found = None, await lag(service, seconds)
        cpu = service.workers[0].cpu_seconds() - cpu
    async for _ in service.marks(feeder.expected.records):
        pass  # what is left over would be the next load's lag
    return Row(name, connections, answers, found, cpu / seconds)


async def _cost(on: Bench, capacity: float, connections: int, seed: int) -> tuple[Cost, list[str]]:
    click.echo("while it drains as fast as it can: ", nl=False, err=True)
    count = int(capacity * (WARM_SECONDS + 2 * TURNS * (TURN_SECONDS + 1)) * SPARE)
    async with Service(on.kafka, on.folder / "cost") as service:
        expected = await fill(service, count, seed, capacity)
        keys = [f"/tables/seen/{quote(key)}\n" for key in islice(expected.ids, KEYS)]
        await asyncio.to_thread((on.folder / "paths").write_text, "".join(keys))
        service.start()
        await service.ready()

        def ask() -> int:
            answers = _ask(service.urls[0], on.folder, connections, TURN_SECONDS)
            if answers.errors:
                raise BenchError(f"{answers.errors:,} of {answers.count:,} requests to seen failed")
            return answers.count

        found = await cost(service, count, ask)
        click.echo(f"{found.alone.rate:,.0f}/s, asked {found.asked.rate:,.0f}/s", err=True)
        return found, await check(service, expected)


def _write(path: Path, name: str, feed: Feed, feeder: Feeder) -> None:
    """Write the paths to ask for, one a line."""
    if name == "seen":
        keys = [key for _, key in feed.probes]
    else:
        keys = sorted({page for page, _ in feeder.expected.views})
    path.write_text("".join(f"/tables/{name}/{quote(key)}\n" for key in keys))


def _ask(url: str, folder: Path, connections: int, seconds: int) -> Answers:
    """Run wrk.

    Raises:
        BenchError: it fails.
    """
    script = folder / "wrk.lua"
    script.write_text(SCRIPT.replace("PATHS", str(folder / "paths")))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + WRK_SECONDS)
    try:
        told = orjson.loads(done.stderr)
    except orjson.JSONDecodeError:
        raise BenchError(f"wrk failed: {done.stdout}{done.stderr}") from None
    return Answers(
        told["requests"],
        told["requests"] / told["micros"] * 1e6,
        told["p50"] / 1000,
        told["p99"] / 1000,
        told["max"] / 1000,
        told["errors"],
    )


def _told(found: Cost, connections: int) -> str:
    return (
        f"While it drains as fast as it can, the worker does {found.alone.rate:,.0f} events/s unasked, and "
        f"{found.asked.rate:,.0f} while wrk asks for `seen` with {connections} connections, and gets "
        f"{found.requests / found.asked.seconds:,.0f} answers a second: {found.fall:.0%} less. By the CPU "
        f"time of the answers ({1000 * found.each:.2f} ms each, where the worker does nothing else), and by "
        f"what the worker gets of the cores beside wrk, it would be {found.explained:.0%}."
    )


def _publish(
    on: Bench,
    rate: float,
    share: float,
    rows: Sequence[Row],
    drained: Cost,
    connections: int,
    problems: Sequence[str],
    seconds: float,
    seed: int,
) -> None:
    cells = [["table", "connections", "requests/s", "p50", "p99", "max", "lag, ms", "flat", "worker"]]
    for row in rows:
        numbers = ["-"] * 4
        if row.answers is not None:
            a = row.answers
            numbers = [f"{a.rate:,.0f}", f"{a.p50:,.1f}", f"{a.p99:,.1f}", f"{a.most:,.1f}"]
        cells.append(
            [
                row.name or "(none asked)",
                f"{row.connections}",
                *numbers,
                f"{1000 * row.lag.mean / rate:,.0f}",
                "yes" if row.lag.flat(rate) else "NO",
                f"{row.worker:.0%}",
            ]
        )
    on.publish(
        "Views of one worker under load",
        [
            *table(cells),
            "",
            _told(drained, connections),
            "",
            *verdict(problems),
        ],
        [
            f"load: {rate:,.0f} events/s, {share:.0%} of what one worker has drained from a prefilled topic "
            "just before; the sender does not wait for the worker",
            f"asked by wrk, one thread, {seconds:.0f} s a row, each connection for one entry after another: "
            f"{KEYS} ids that were sent just before, or all pages with all their minutes; latencies in "
            "milliseconds",
            "lag: mean, as time of the load; flat: it grew by less than what comes in "
            f"{1000 * RISE_SECONDS:.0f} ms; worker: share of a core",
            "settings: Millstream's defaults",
            workload(seed, f"{rate:,.0f}"),
        ],
    )


if __name__ == "__main__":
    main(prog_name="python -m bench.http")
