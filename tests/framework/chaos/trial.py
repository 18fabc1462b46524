"""One run under faults: workers, a load, what is done to them, and the account of it."""

import random
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple, Protocol

from millstream.sources.record import Record
from tests.framework.chaos.feed import Feed
from tests.framework.chaos.kafka import group_of
from tests.framework.chaos.report import Report
from tests.framework.chaos.state_log import Recorder, StateLog, state_log
from tests.framework.chaos.tables import Tables, held
from tests.framework.service import Service, Worker

SESSION = 8  # seconds after which the group surely has missed a worker
WITHIN = 5.0  # seconds before a fault in which its victim must have committed


class Load(Protocol):
    """What is fed, and how the results are judged."""

    app: str
    source: str
    derived: tuple[str, ...]
    rate: float
    seed: int
    enough: bool

    def records(self) -> Iterator[Record]: ...

    def check(self, service: Service, tables: Tables, report: Report) -> None: ...


class Strike(NamedTuple):
    """A fault: when (epoch seconds), which partitions it hit, and whether they then need a new owner."""

    at: float
    partitions: list[int]
    moved: bool


class Trial:
    """A service that is fed, hurt and judged.

    Args:
        name: for the report.
        service: without workers.
        load: what it is fed with.
        workers: how many it begins with.
        compacted: whether Kafka compacts the state log while it is written.
        settings: of all workers.
    """

    def __init__(
        self,
        name: str,
        service: Service,
        load: Load,
        *,
        workers: int = 3,
        compacted: bool = False,
        **settings: str,
    ) -> None:
        self.service, self.load = service, load
        self.report = Report(name, seed=load.seed)
        self.rand = random.Random(load.seed)
        self.strikes: list[Strike] = []
        self.settings = settings
        self._records = load.records()
        self._names = 0
        self._caught: tuple[float, list[int]] = (0.0, [])  # when `busy` saw work, and in which partitions
        self._feed: Feed | None = None
        self.began = time.monotonic()
        for _ in range(workers):
            self.add()
        for worker in self.workers:
            worker.wait_ready()
        self._recorder = Recorder(service, load.source) if compacted else None

    @property
    def workers(self) -> list[Worker]:
        return self.service.workers

    def __enter__(self) -> "Trial":
        return self

    def __exit__(self, *_: object) -> None:
        if self._feed is not None:
            self._feed.stop()
        if self._recorder is not None:
            self._recorder.stop()

    def feed(self, count: int | None = None) -> "Trial":
        """Begin to send the load, or so many more of its events."""
        self._feed = Feed(
            self.service.kafka,
            self.service.topic(self.load.source),
            islice(self._records, count),
            self.load.rate,
        )
        return self

    @property
    def fed(self) -> bool:
        """Whether all is sent."""
        return self._feed is None or not self._feed.alive

    def add(self, name: str | None = None) -> Worker:
        """Start a worker: a new one, or one of a name known before."""
        if name is None:
            name, self._names = str(self._names), self._names + 1
        return self.service.worker(name, **self.settings)

    def revive(self) -> None:
        """Start workers again that ended by themselves, as an orchestrator does."""
        for worker in [worker for worker in self.workers if worker.process.poll() is not None]:
            self.workers.remove(worker)
            self.add(worker.name)
            self.report.ended += 1

    def busy(self, candidates: list[Worker] | None = None, seconds: float = 60) -> Worker:
        """Return a worker (a random one of several) that has moved on within the last moment."""
        self.wait_until(lambda: self._has_work() or not self.fed, seconds, "there is work")
        deadline = time.monotonic() + seconds
        last: dict[Worker, dict[int, int]] = {}
        while time.monotonic() < deadline:
            self.revive()
            moved = []
            for worker in self.workers if candidates is None else candidates:
                now = self.held(worker)
                before = last.get(worker, now)
                if any(offset > before.get(number, offset) for number, offset in now.items()):
                    moved.append(worker)
                last[worker] = now
            if moved:
                worker = self.rand.choice(moved)
                self._caught = time.time(), list(last[worker])
                return worker
            assert not self.fed or self._has_work(), "all was done before the fault: this run says nothing"
            time.sleep(0.01)
        raise AssertionError("no worker was at work: a fault would say nothing")

    def _has_work(self) -> bool:
        return self.service.lag(self.load.source) > 0

    def kill(self, worker: Worker | None = None, *, lose: bool = False, restart: bool = True) -> Worker:
        """Kill a worker at its work and start it again.

        Returns:
            The new process, or the dead one if there is none.
        """
        worker = self.busy(None if worker is None else [worker])
        self.note("lose" if lose else "kill")
        worker.kill()
        if lose:
            self.lose(worker.name)
        self.workers.remove(worker)
        return self.add(worker.name) if restart else worker

    def freeze(self, worker: Worker | None = None, seconds: float = SESSION + 3) -> Worker:
        """Stop a worker at its work, for longer than the group waits for it, and let it go on."""
        worker = self.busy(None if worker is None else [worker])
        self.note("freeze")
        worker.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        worker.process.send_signal(signal.SIGCONT)
        return worker

    def hurt(self, kinds: Iterable[str]) -> None:
        """Have faults one after another: `kill`, `lose` (killed, with its disk) or `freeze`."""
        for kind in kinds:
            time.sleep(self.rand.uniform(0.5, 2))
            if kind == "freeze":
                self.freeze()
            else:
                self.kill(lose=kind == "lose")

    def stop(self, worker: Worker, seconds: float = 30) -> None:
        """End a worker in good order; one that has partitions, at its work."""
        if self.held(worker):
            self.busy([worker])
            self.note("stop")
        else:
            self.report.faults["stop-idle"] += 1
        assert worker.stop(seconds) == 0, worker.log.read_text()[-3000:]
        self.workers.remove(worker)

    def held(self, worker: Worker) -> dict[int, int]:
        return held(worker, self.service.topic(self.load.source))

    def note(self, kind: str, *, moved: bool = True) -> None:
        """Note a fault of the worker that `busy` has returned; `moved`: its partitions get a new owner."""
        self.report.faults[kind] += 1
        self.strikes.append(Strike(*self._caught, moved))

    def lose(self, name: str) -> None:
        """Delete the disk of a worker that does not run."""
        shutil.rmtree(
            self.service.folder / "state" / "data" / f"{self.service.env['MILLSTREAM_APP_ID']}-{name}"
        )

    def wait_done(self, seconds: float = 240) -> None:
        """Have the load come to its end, and wait until all of it is processed."""
        assert self._feed is not None
        self.load.enough = True
        self._feed.wait(seconds)
        for topic in (self.load.source, *self.load.derived):
            self.wait_until(
                lambda topic=topic: not self.service.lag(topic), seconds, f"all of {topic} is done"
            )

    def wait_until(self, happened: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not happened():
            if time.monotonic() > deadline:
                tails = "".join(f"{w.name}: {w.log.read_text()[-1500:]}\n" for w in self.workers)
                raise AssertionError(f"not after {seconds} s: {what}\n{tails}")
            self.revive()
            time.sleep(0.2)

    def judge(self) -> Report:
        """Compare everything with the truth, and show the report."""
        service, report = self.service, self.report
        for worker in self.workers:
            worker.wait_ready(120)
        with Tables(service, self.load.source) as tables:
            self.load.check(service, tables, report)
        log = self._recorder.stop() if self._recorder else state_log(service, self.load.source)
        group = group_of(service.kafka, service.env["MILLSTREAM_APP_ID"])
        report.rebalances = len(group.generations)
        report.skipped = log.skipped(group)
        report.fences, report.foreign = len(log.fences), log.foreign
        report.more["hit"] = f"{self._hits(log)}/{len(self.strikes)}"
        report.more["seconds"] = round(time.monotonic() - self.began)
        report.show()
        return report

    def _hits(self, log: StateLog) -> int:
        """Count the faults that stand between two commits of a partition, the first a fresh one."""
        hits = 0
        for strike in self.strikes:
            gaps = [log.gap(partition, strike.at, strike.moved) for partition in strike.partitions]
            hits += any(gap is not None and gap[0] < WITHIN for gap in gaps)
        return hits

    def finish(self, seconds: float = 240) -> Report:
        """End the load, judge, and fail if anything was wrong or a fault missed the work."""
        self.wait_done(seconds)
        report = self.judge()
        assert report.exact, str(report)
        hit, _, struck = str(report.more["hit"]).partition("/")
        assert hit == struck, f"a fault missed the work: this run says nothing ({report})"
        return report
