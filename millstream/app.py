"""The App of a service: Faust's, with the engine beside it. It refuses to start where it could not work."""

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Coroutine, Sequence
from functools import wraps
from typing import Any, cast

import faust
import uvloop
from faust.exceptions import ImproperlyConfigured
from faust.types import TP, AgentT

from millstream import agents as agent_files
from millstream.checks import check_app_id, unattached_tables
from millstream.declarations import Declarations
from millstream.engine.agents import AgentGroup
from millstream.engine.engine import FAILED_SECONDS, Engine
from millstream.engine.error_policy import DeadLetterLimit, ErrorPolicy
from millstream.engine.shutdown import end_within
from millstream.engine.tracing import Tracer
from millstream.engine.transport import Transport, topics_of
from millstream.engine.worker import Worker, settle_memory
from millstream.errors import DeclarationError
from millstream.faust_options import faust_options
from millstream.kafka.local import KafkaUnavailable, bootstrap, status
from millstream.kafka.topics import TopicError, broker_count, ensure, topic_ids
from millstream.observability import logs
from millstream.observability.watchdog import Watchdog
from millstream.settings import Settings, settings, unknown_variables
from millstream.state.storage import DiskStorage
from millstream.state.store import DataDirectory, DirectoryTakenError
from millstream.web.openapi import Operations
from millstream.web.queries import Queries
from millstream.web.scatter_gather import ScatterGather, connect
from millstream.web.server import PortTakenError, TlsError, Web, require_port
from millstream.web.tokens import TokensError
from millstream.web.views import install

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
# What a batch makes of its records must fit into a core's own cache: of 4,000 each event costs a tenth more.
CHUNK_RECORDS = 500

# It takes batches, or a Faust stream; one that yields answers them.
AgentFunction = Callable[[Any], Coroutine[Any, Any, None] | AsyncIterable[Any]]

logger = logging.getLogger(__name__)


class App(Declarations, faust.App):
    """A service: its topics, tables and agents, and the worker that runs them.

    Args:
        id: the consumer group, and part of the state logs' names; MILLSTREAM_APP_ID overrules it.
        settings: None for those of the environment.
        agents: names of the files of `agents/` that run; None for all. MILLSTREAM_AGENTS overrules it.
        options: further ones of Faust's App.

    Attributes:
        engine: runs the batch agents.
        topic_ids: the topics' ids, by name, as far as Kafka has ids.
        gather: asks other workers for their tables.
        kafka: addresses, host:port with commas; known from the start of the worker on.
    """

    gather: ScatterGather
    kafka: str
    topic_ids: dict[str, str]

    def __init__(
        self,
        id: str,  # noqa: A002 (Faust's name)
        *,
        settings: Settings | None = None,
        agents: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        # Faust makes its loop from the policy, after it has imported the app.
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        conf = _settings() if settings is None else settings
        check_app_id(id)
        self.settings = conf if conf.app_id else conf.model_copy(update={"app_id": id})
        self._home = agent_files.home_of_caller(__name__.partition(".")[0])
        self._usual_agents = agents
        super().__init__(
            self.settings.app_id, **{"Worker": Worker, **faust_options(self.settings), **options}
        )
        self._declare_nothing()
        self.topic_ids = {}
        self.storage = DiskStorage(
            self.settings.data_dir / "tables",
            self.settings.app_id,
            lambda: self.engine.producer,
            lambda: self.engine.bootstrap,
            self.topic_ids,
        )
        self.engine = Engine(
            self,
            self.topology,
            self.storage,
            chunk_records=CHUNK_RECORDS,
            standbys_wanted=self.settings.standbys,
            restore_seconds=self.settings.restore_deadline.total_seconds(),
            dead_letter_limit=DeadLetterLimit(self.settings.dead_letter_run, self.settings.dead_letter_share),
        )
        self.gather = ScatterGather(self.engine, lambda: connect(self.settings))
        self.queries = Queries(self.engine, self.gather)
        self.operations = Operations()
        self.transport = Transport(self.conf.broker, self)
        install(self)

    def load_agents(self, *names: str) -> None:
        """Import agents, each once.

        Args:
            names: names of files of `agents/`; none for those that are to run.
        """
        if self._home is not None:
            there = self._home.agents
            wanted = agent_files.wanted_agents(there, self.settings.agents, self._usual_agents)
            self._home.load(names or wanted)

    @property
    def chosen_agents(self) -> bool:
        """Whether a list names the agents that run, and not the files of `agents/`."""
        return bool(self.settings.agents) or self._usual_agents is not None

    def worker_init(self) -> None:
        """Load the agents: Faust calls this when it has found the app, for a worker or a command."""
        super().worker_init()
        self.load_agents()
        self.check()

    def check(self) -> None:
        """Check what the service declares, once its agents are loaded.

        Raises:
            DeclarationError: something cannot work; the text says what to write.
        """
        self._check_agents()
        if self._home is not None:
            attached = [table for source in self.topology.sources.values() for table in source.tables]
            if loose := unattached_tables(self._home.modules, attached):
                raise DeclarationError(
                    f"{', '.join(loose)}: attached to no source topic, so nothing would keep it: "
                    "`app.add_tables(topic, table)`"
                )
        declared = {self.settings.declared(topic) for topic in self.topic_specs}
        if unknown := [name for name in self.settings.renamed if name not in declared]:
            raise DeclarationError(
                f"MILLSTREAM_TOPIC_NAMES names {', '.join(unknown)}, which the service does not declare; its "
                f"topics are {', '.join(sorted(declared))}"
            )

    def agent(
        self, channel: Any = None, *, errors: ErrorPolicy | None = None, **options: Any
    ) -> Callable[[AgentFunction], AgentT[Any]]:
        """Declare an agent, as Faust does. Several agents of a source topic share the commit of each batch.

        Args:
            channel: the topic that it reads.
            errors: what its exceptions mean, where the topic is read in batches.
            options: Faust's.
        """
        topic = next((topic for topic in topics_of(channel) if topic in self.topology.sources), None)
        declare = cast("Callable[[AgentFunction], AgentT[Any]]", super().agent(channel, **options))
        if topic is None:
            return declare
        group = self.topology.agents.setdefault(topic, AgentGroup(topic))
        self._note_policy(topic, errors)

        def with_batches(agent: AgentFunction) -> AgentT[Any]:
            group.add(agent)
            if group.runner is not None and options:
                raise DeclarationError(
                    f"options of an agent of {topic}: {', '.join(options)}; the first agent of a topic has "
                    "them, for all of its agents"
                )
            if group.runner is None:
                group.runner = declare(
                    wraps(agent)(lambda stream: group.start(self.engine.scheduler.batches(topic, stream)))
                )
            return group.runner  # it runs all of them

        return with_batches

    def _note_policy(self, topic: str, errors: ErrorPolicy | None) -> None:
        if errors is not None and self.topology.policies.setdefault(topic, errors) != errors:
            raise DeclarationError(f"two agents of {topic} have different error policies: it has one")

    async def ensure_topics(self) -> dict[str, bool]:
        """Create the topics that are missing, and check all of them; see `millstream.kafka.topics.ensure`."""
        if self._is_mock():
            return {}  # it makes each topic when it is first used, and cannot say how
        return await ensure(bootstrap(self.settings), self.topic_specs.values())

    def set_up_log(self, root: logging.Logger) -> None:
        """Set up the format of the worker's log, once its handlers are there."""
        logs.set_up(root, self.settings.log, self.settings.worker)

    async def on_first_start(self) -> None:
        """Lock the data directory, and create and check the topics.

        Raises:
            SystemExit: with a sentence that says what to do.
        """
        for warning in unknown_variables():  # not before: the log is set up now
            logger.warning("%s", warning)
        conf = self.settings
        try:
            if self.conf.web_enabled:
                require_port(self.conf.web_bind, self.conf.web_port)
                self.web.secure(conf)
                self.engine.url = conf.advertised
            if conf.traces:
                self.engine.tracer = _tracer(conf)
            self.data_directory = DataDirectory(conf.data_dir)
            self.kafka = self.engine.bootstrap = bootstrap(conf)
            await self.ensure_topics()
            if not self._is_mock():
                await self._warn_of_few_replicas()
                self.topic_ids.update(await topic_ids(self.kafka, self.topic_specs))
            self.engine.fresh.update(self._copies_on_disk())
        except STARTUP_ERRORS as exc:
            raise SystemExit(f"millstream: {exc}") from None
        await super().on_first_start()
        self.watchdog = Watchdog(self.engine, conf.stall_timeout.total_seconds())
        self.watchdog.start()
        settle_memory()

    async def on_stop(self) -> None:
        """Stop watching, and everything else."""
        if not self.engine.stopping:  # Faust ends it: a failed commit of offsets, for instance
            end_within(FAILED_SECONDS)
        if hasattr(self, "watchdog"):
            await self.watchdog.stop()
        await self.gather.close()
        await super().on_stop()

    async def _on_agent_error(self, agent: Any, exc: BaseException) -> None:
        if isinstance(exc, Exception):
            self.engine.agent_failed(topics_of(agent.channel), exc)
        await super()._on_agent_error(agent, exc)

    def _new_web(self) -> Web:
        return Web(self)

    def _check_agents(self) -> None:
        for topic in self.engine.sources:
            found = [agent for agent in self.agents.values() if topic in topics_of(agent.channel)]
            if len(found) > 1 or any(a.concurrency > 1 or len(topics_of(a.channel)) > 1 for a in found):
                names = ", ".join(agent.name for agent in found)
                raise DeclarationError(
                    f"{topic} is read in batches, by one agent with concurrency 1 that keeps its order, "
                    f"and reads nothing else; it has: {names}"
                )

    async def _warn_of_few_replicas(self) -> None:
        brokers, conf = await broker_count(self.kafka), self.settings
        if conf.replication < min(3, brokers) or (brokers > 1 and conf.min_insync_replicas < 2):
            logger.warning(
                "Kafka has %d brokers, topics have %d replicas, of which %d confirm a write: what a broker "
                "loses is lost. MILLSTREAM_REPLICATION=3 and MILLSTREAM_MIN_INSYNC_REPLICAS=2 are for "
                "production",
                brokers,
                conf.replication,
                conf.min_insync_replicas,
            )

    def _copies_on_disk(self) -> dict[TP, float]:
        """Return when the copies of an earlier run were last written to, seconds since the epoch."""
        found = {}
        for topic in self.engine.sources:
            for number in range(self.settings.partitions):
                files = self.storage.folder(topic, number).glob("*")
                if times := [file.stat().st_mtime for file in files]:
                    found[TP(topic, number)] = max(times)
        return found

    def _is_mock(self) -> bool:
        running = status(self.settings)
        return running is not None and running.kind == "mock"


_settings = settings  # the argument of the same name hides it


def _tracer(conf: Settings) -> Tracer:
    try:
        from millstream.observability.spans import Spans  # noqa: PLC0415 (not everybody has OpenTelemetry)
    except ModuleNotFoundError as exc:
        raise ImproperlyConfigured(
            f"MILLSTREAM_TRACES needs `pip install millstream[traces]` ({exc})"
        ) from None
    return Spans(conf.app_id, conf.worker)
