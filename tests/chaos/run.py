"""Any file through a fresh service, with workers killed on its way: `python -m tests.chaos.run --help`.

Prints lost=… doubled=… wrong_counts=… and what was done; the exit code is 1 if one of the three is not 0,
or a kill has missed the work.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient

from app import app
from millstream.kafka.local import KafkaUnavailable, down, up
from millstream.settings import Settings
from tests.chaos.activity import Activity, loading
from tests.chaos.users import SETTINGS, Users
from tests.framework.chaos.kafka import admin
from tests.framework.chaos.report import Report
from tests.framework.chaos.trial import Trial
from tests.framework.service import Service

FASTEST = 6_000
KILL_SECONDS = 5  # a worker is back after so long: kills come no faster on the average
LOSE = 0.3  # share of the kills that take the disk, too


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run", description=__doc__)
    parser.add_argument("--input", type=Path, required=True, help="file that `millstream load` takes")
    parser.add_argument(
        "--as", dest="form", choices=app.file_formats, default="activity", help="the format of its lines"
    )
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--rate", type=float, help=f"records a second; by default what gives each kill {KILL_SECONDS} s"
    )
    parser.add_argument(
        "--all-agents", action="store_true", help="sessions, conversions and totals, too; no event is late"
    )
    return parser.parse_args()


@contextmanager
def kafka(folder: Path) -> Iterator[str]:
    """Address of a Kafka: the one of the environment, else one of our own."""
    settings = Settings(state_dir=folder)
    running = up(settings, echo=lambda text: print(text, file=sys.stderr))
    try:
        if running.kind == "mock":
            raise KafkaUnavailable("librdkafka's mock cluster is not enough for this")
        yield running.bootstrap
    finally:
        if running.started:
            down(settings, echo=lambda _: None)


def remove_topics(service: Service) -> None:
    async def remove(client: AIOKafkaAdminClient) -> None:
        ours = [name for name in await client.list_topics() if name.startswith(service.prefix)]
        if ours:
            await client.delete_topics(ours)

    admin(service.kafka, remove)


def run(args: argparse.Namespace, service: Service) -> tuple[Report, int]:
    """Return the report, and how many kills have missed the work."""
    lines = sum(1 for _ in loading(args.input, args.form).records())
    rate = args.rate or min(FASTEST, lines / (KILL_SECONDS * (args.kills + 1)))
    load, settings = (Users, SETTINGS | {"MILLSTREAM_GRACE": "P1D"}) if args.all_agents else (Activity, {})
    fed = load(rate=rate, seed=args.seed, file=args.input, form=args.form)
    name = f"{args.input.name} as {args.form}"
    with Trial(name, service, fed, workers=args.workers, **settings) as trial:
        rand, missed = trial.rand, 0
        duration = lines / rate
        moments = sorted(rand.uniform(0.03, 0.9) * duration for _ in range(args.kills))
        trial.feed()
        began = time.monotonic()
        for moment in moments:
            time.sleep(max(0, moment - (time.monotonic() - began)))
            lose = rand.random() < LOSE
            try:
                trial.kill(lose=lose)
            except AssertionError as exc:
                print(exc, file=sys.stderr)
                missed += 1
        trial.wait_done(max(240, 2 * duration))
        trial.report.more |= {"rate": round(rate), "lines": lines}
        report = trial.judge()
        hit, _, struck = str(report.more["hit"]).partition("/")
        report.lost += max(0, lines - report.events)  # the load may have sent more
        return report, missed + int(struck) - int(hit)


def main() -> int:
    args = options()
    # So that what was started ends with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not args.input.is_file():
        sys.exit(f"there is no file {args.input}")
    with tempfile.TemporaryDirectory(prefix="millstream-chaos-") as folder:
        path = Path(folder)
        try:
            with (
                kafka(path / "kafka") as address,
                Service(address, path, Activity.app, Activity.source) as service,
            ):
                try:
                    report, missed = run(args, service)
                finally:
                    for worker in service.workers:
                        worker.kill()
                    if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
                        remove_topics(service)
        except KafkaUnavailable as exc:
            sys.exit(str(exc))
    if missed:
        print(f"{missed} kills missed the work: this run says nothing; give a lower --rate", file=sys.stderr)
    return 0 if report.exact and not missed else 1


if __name__ == "__main__":
    sys.exit(main())
