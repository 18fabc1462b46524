"""The closed-form service, whose commits fail as the setting FAILING says.

offsets: Kafka refuses the group's offsets after a while. before, after: an error before or after a commit is
appended to the state log, now and then. die-before, die-after: as these, and the worker is gone.
"""

import os
import signal
import time
from collections.abc import Iterable
from itertools import count
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from millstream.kafka.producer import Record
from millstream.state.kafka_log import KafkaLog
from millstream.state.log import FENCE
from tests.framework.apps.closed_form import app

MODE = os.environ.get("FAILING", "")
EVERY = 20

GOOD_SECONDS = 6

started = time.monotonic()
accept = AIOKafkaConsumer.commit
whole = KafkaLog.append
commits = count(1)


async def refuse(self: AIOKafkaConsumer, offsets: Any = None) -> None:
    if time.monotonic() - started > GOOD_SECONDS:
        raise KafkaError("offset commit refused, as told")
    await accept(self, offsets)


def fail() -> None:
    if MODE.startswith("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    raise KafkaError("state commit failed, as told")


async def append(self: KafkaLog, entries: Iterable[Record]) -> int:
    records = list(entries)
    fails = records[0][0] != FENCE and next(commits) % EVERY == 0
    if fails and MODE.endswith("before"):
        fail()
    offset = await whole(self, records)
    if fails and MODE.endswith("after"):
        fail()
    return offset


if MODE == "offsets":
    AIOKafkaConsumer.commit = refuse
elif MODE:
    KafkaLog.append = append  # type: ignore[method-assign]

__all__ = ["app"]
