"""The views' answers, as types for their description. The tables' answers are in `millstream.web.schemas`."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class Problem(TypedDict):
    """An error (RFC 9457); `detail` says what to do about it."""

    title: str
    status: int
    detail: str


class Index(TypedDict):
    """The views of the service."""

    service: str
    views: list[str]


class Read(TypedDict):
    """A partition of an answer; `offset` is the first event that the answer does not include."""

    partition: int
    offset: int | None
    as_of: Moment | None
    worker: str
    role: Literal["owner", "standby"]
    staleness: float


class NotRead(TypedDict):
    """A partition that is missing in an answer, and why."""

    source: NotRequired[str]
    partition: int
    why: str


class Partial(TypedDict):
    """An answer from some partitions, while others have not answered."""

    partial: Literal[True]
    missing: list[NotRead]


class Table(TypedDict):
    """A table, and the positions of its partitions; further fields depend on its kind."""

    name: str
    kind: str
    source: str
    query: str


class Tables(TypedDict):
    """All tables."""

    tables: list[Table]
    partial: Literal[False]


class Found(TypedDict):
    """The value of a key in a reference topic."""

    table: str
    key: str
    value: dict[str, Any]
    partial: Literal[False]
    partition: int
    offset: int


class Held(TypedDict):
    """A partition of this worker; `offset` is its next event."""

    partition: str
    status: Literal["ready", "restoring"]
    offset: int | None
    waiting: int
    lag: int | None
    restore: NotRequired[dict[str, Any]]


class Follows(TypedDict):
    """A partition of which this worker keeps a copy."""

    partition: str
    lag: int | None


class Health(TypedDict):
    """Whether the worker is processing."""

    status: str
    worker: str
    partitions: list[Held]
    standbys: list[Follows]


class Live(TypedDict):
    """Whether the process works."""

    live: bool
    reason: NotRequired[str]


class Unready(TypedDict):
    """A reason why a worker is not ready: a stable identifier, and a sentence."""

    code: str
    detail: str


class Ready(TypedDict):
    """Whether the worker is processing and near the end of its topics."""

    ready: bool
    reasons: list[Unready]


class Startup(TypedDict):
    """Whether the first restore is done, and its progress by table."""

    started: bool
    joined: NotRequired[bool]
    tables: NotRequired[dict[str, Any]]
    references: NotRequired[dict[str, Any]]


class Counts(TypedDict):
    """Counts of a source topic since the worker has started; `latency` by `latency_bounds`."""

    events: int
    retries: int
    outputs: dict[str, int]
    duplicates: dict[str, int]
    dead: dict[str, int]
    late: dict[str, int]
    latency: list[int]


class WorkerPartition(TypedDict):
    """A partition of a worker."""

    topic: str
    partition: int
    offset: int | None
    lag: int | None
    watermark: float | None
    waiting: int
    restore: NotRequired[dict[str, Any]]


class WorkerStandby(TypedDict):
    """A partition of which a worker keeps a copy."""

    topic: str
    partition: int
    lag: int | None
    staleness: float | None


class Worker(TypedDict):
    """A worker's data; times are seconds since the epoch."""

    worker: str
    name: str
    started: float
    time: float
    reasons: list[Unready]
    topics: dict[str, Counts]
    partitions: list[WorkerPartition]
    standbys: list[WorkerStandby]


class Silent(TypedDict):
    """A worker that does not answer, and why."""

    worker: str
    why: str


class Overview(TypedDict):
    """The data of all workers."""

    service: str
    prefix: str
    partitions: int
    latency_bounds: list[float]
    agents: list[dict[str, Any]]
    tables: list[dict[str, Any]]
    panels: list[dict[str, Any]]
    asked: str
    workers: list[Worker]
    partial: bool
    missing: list[Silent]


class DeadLetter(TypedDict):
    """Facts about a dead letter; `time` is seconds since the epoch, `origin` its source."""

    topic: str
    partition: int
    offset: int
    time: float
    origin: str | None
    code: str | None
    reason: str | None
    bytes: int


class DeadLetters(TypedDict):
    """Dead letters, newest first."""

    dead_letters: list[DeadLetter]


class Bytes(TypedDict):
    """Bytes as text, if they are UTF-8, and in hexadecimal digits; both may be truncated."""

    bytes: int
    text: str | None
    hex: str


class Header(TypedDict):
    """A header of a record."""

    name: str
    value: str


class WholeDeadLetter(DeadLetter):
    """A dead letter with its headers and bytes."""

    headers: list[Header]
    key: Bytes | None
    value: Bytes | None
