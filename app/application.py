"""The Faust app of a worker that refuses to start where it could not work."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, cast

import faust
from faust.exceptions import ImproperlyConfigured
from faust.types import TP

from app import logs
from app.admin import TopicError, TopicSpec, broker_count, ensure, topic_ids
from app.engine.engine import FAILED_SECONDS, Engine
from app.engine.errors import ErrorPolicy
from app.engine.traced import Tracer
from app.engine.transport import topics_of
from app.engine.watchdog import Watchdog, end_within
from app.engine.worker import settle_memory
from app.kafka import KafkaUnavailable, bootstrap, status
from app.settings import settings
from app.web.gather import Gather
from app.web.server import PortTakenError, TlsError, Web, require_port
from app.web.tokens import TokensError
from tables.store import DataDirectory, DirectoryTakenError

# What a worker may meet when it starts; each text says what to do.
STARTUP_ERRORS = (
    ImproperlyConfigured,
    PortTakenError,
    TokensError,
    TlsError,
    DirectoryTakenError,
    KafkaUnavailable,
    TopicError,
)

logger = logging.getLogger(__name__)


class App(faust.App):
    """Faust's app, with the engine beside it.

    Attributes:
        engine: what runs the batch agents.
        topic_specs: all topics as they are declared, by name.
        topic_ids: their ids, by name, as far as Kafka tells them.
        gather: asks other workers for their tables.
        kafka: addresses, host:port with commas; known from the start of the worker on.
    """

    engine: Engine
    gather: Gather
    topic_specs: dict[str, TopicSpec]
    kafka: str
    topic_ids: dict[str, str]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.topic_specs = {}
        self.topic_ids = {}

    def _check_agents(self) -> None:
        for topic in self.engine.sources:
            found = [agent for agent in self.agents.values() if topic in topics_of(agent.channel)]
            if len(found) > 1 or any(a.concurrency > 1 or len(topics_of(a.channel)) > 1 for a in found):
                names = ", ".join(agent.name for agent in found)
                raise ImproperlyConfigured(
                    f"{topic} is read in batches, by one agent with concurrency 1 that keeps its order, "
                    f"and reads nothing else; it has: {names}"
                )

    async def ensure_topics(self) -> dict[str, bool]:
        """Create the topics that are missing, and check all of them; see `app.admin.ensure`."""
        if _is_mock():
            return {}  # it makes each topic when it is first used, and cannot say how
        return await ensure(bootstrap(settings()), self.topic_specs.values())

    async def _warn_of_few_replicas(self) -> None:
        brokers, conf = await broker_count(self.kafka), settings()
        if conf.replication < min(3, brokers) or (brokers > 1 and conf.min_insync_replicas < 2):
            logger.warning(
                "Kafka has %d brokers, topics have %d replicas, of which %d confirm a write: what a broker "
                "loses is lost. MILLSTREAM_REPLICATION=3 and MILLSTREAM_MIN_INSYNC_REPLICAS=2 are for "
                "production",
                brokers,
                conf.replication,
                conf.min_insync_replicas,
            )

    def agent(
        self, channel: Any = None, *, errors: ErrorPolicy | None = None, **options: Any
    ) -> Callable[[Any], Any]:
        """Declare an agent, as Faust does.

        Args:
            channel: the topic that it reads.
            errors: what its exceptions mean, where the topic is read in batches.
            options: Faust's.
        """
        if errors is not None:
            self.engine.policies.update(dict.fromkeys(topics_of(channel), errors))
        declare = cast("Callable[[Any], Any]", super().agent(channel, **options))
        topic = next((topic for topic in topics_of(channel) if topic in self.engine.sources), None)
        if topic is None:
            return declare

        def with_batches(agent: Callable[[Any], Any]) -> Any:
            return declare(wraps(agent)(lambda stream: agent(self.engine.turns.batches(topic, stream))))

        return with_batches

    def set_up_log(self, root: logging.Logger) -> None:
        """See to the form of the worker's log, once its handlers are there."""
        logs.set_up(root, settings().log, settings().worker)

    async def _on_agent_error(self, agent: Any, exc: BaseException) -> None:
        if isinstance(exc, Exception):
            self.engine.agent_failed(topics_of(agent.channel), exc)
        await super()._on_agent_error(agent, exc)

    def _new_web(self) -> Web:
        return Web(self)

    async def on_first_start(self) -> None:
        """Take the data directory, and see to the topics.

        Raises:
            SystemExit: with a sentence that says what to do.
        """
        try:
            self._check_agents()
            if self.conf.web_enabled:
                require_port(self.conf.web_bind, self.conf.web_port)
                self.web.guard(settings())
                self.engine.url = settings().advertised
            if settings().traces:
                self.engine.tracer = _tracer()
            self.data_directory = DataDirectory(settings().data_dir)
            self.kafka = self.engine.bootstrap = bootstrap(settings())
            await self.ensure_topics()
            if not _is_mock():
                await self._warn_of_few_replicas()
                self.topic_ids = await topic_ids(self.kafka, self.topic_specs)
            self.engine.fresh.update(self._copies_on_disk())
        except STARTUP_ERRORS as exc:
            raise SystemExit(f"millstream: {exc}") from None
        await super().on_first_start()
        self.watchdog = Watchdog(self.engine, settings().stall_timeout.total_seconds())
        self.watchdog.start()
        settle_memory()

    def _copies_on_disk(self) -> dict[TP, float]:
        """Return when the copies of an earlier run were last written to, seconds since the epoch."""
        found = {}
        for topic in self.engine.sources:
            for number in range(settings().partitions):
                files = (settings().data_dir / "tables" / f"{topic}-{number}").glob("*")
                if times := [file.stat().st_mtime for file in files]:
                    found[TP(topic, number)] = max(times)
        return found

    async def on_stop(self) -> None:
        """Stop watching, and everything else."""
        if not self.engine.stopping:  # Faust ends it: a failed commit of offsets, for instance
            end_within(FAILED_SECONDS)
        if hasattr(self, "watchdog"):
            await self.watchdog.stop()
        await self.gather.close()
        await super().on_stop()


def _is_mock() -> bool:
    running = status(settings())
    return running is not None and running.kind == "mock"


def _tracer() -> Tracer:
    try:
        from app.traces import Spans  # noqa: PLC0415 (not everybody has OpenTelemetry)
    except ModuleNotFoundError as exc:
        raise ImproperlyConfigured(
            f"MILLSTREAM_TRACES needs `pip install millstream[traces]` ({exc})"
        ) from None
    return Spans(settings().app_id, settings().worker)
