"""The settings of a service, read from the environment.

Each is the upper-case name with the prefix `MILLSTREAM_`; Kafka's address is the usual
`KAFKA_BOOTSTRAP_SERVERS`.
"""

import difflib
import os
import re
import socket
from collections.abc import Iterator
from datetime import timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Literal, Self, TypeVar

import click
from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

# What Kafka allows in the names of topics, of which ids and prefixes become a part.
NAME = r"^[A-Za-z0-9._-]*$"
# As browsers write them.
ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:\d+)?")


class _Group(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="MILLSTREAM_", frozen=True)


class KafkaSettings(_Group):
    """Where Kafka is."""

    kafka_bootstrap_servers: str | None = Field(
        None,
        # The first is for `Settings(…)`; the environment has both cases.
        validation_alias=AliasChoices("kafka_bootstrap_servers", "KAFKA_BOOTSTRAP_SERVERS"),
        description="Comma-separated host:port of an outside Kafka; empty: the one of `millstream kafka up`.",
    )


class TopicSettings(_Group):
    """The names and sizes of topics."""

    topic_prefix: str = Field(
        "",
        pattern=NAME,
        max_length=100,
        description="Put before the name of every topic, for a Kafka that is shared.",
    )
    topic_names: str = Field(
        "",
        description="Names that topics have in Kafka instead of their own, `declared=name` with commas; they "
        "get no prefix.",
    )
    partitions: int = Field(
        4, ge=1, description="Partitions of every topic that `millstream topics` creates."
    )
    replication: int = Field(1, ge=1, description="Replicas of every topic; 3 in production.")
    min_insync_replicas: int = Field(1, ge=1, description="Replicas that confirm a write; 2 in production.")
    retention: timedelta = Field(
        timedelta(days=7), ge=timedelta(minutes=1), description="Time that event topics keep their records."
    )

    @model_validator(mode="after")
    def _can_be_confirmed(self) -> Self:
        if self.min_insync_replicas > self.replication:
            raise ValueError(
                f"MILLSTREAM_MIN_INSYNC_REPLICAS={self.min_insync_replicas} is more than "
                f"MILLSTREAM_REPLICATION={self.replication}: no write could be confirmed"
            )
        return self

    @field_validator("topic_names")
    @classmethod
    def _are_names(cls, names: str) -> str:
        for pair in filter(None, names.split(",")):
            declared, _, name = pair.partition("=")
            if not declared or not re.fullmatch(NAME, name) or not name:
                raise ValueError(f"{pair!r} is not `declared=name`, as in activity.raw=sales_topic")
        return names

    def topic(self, name: str) -> str:
        """Return the name that a topic has in Kafka."""
        return self.renamed.get(name) or f"{self.topic_prefix}{name}"

    def declared(self, topic: str) -> str:
        """Return the name that a topic in Kafka is declared by."""
        own = {name: declared for declared, name in self.renamed.items()}
        return own.get(topic) or topic.removeprefix(self.topic_prefix)

    @cached_property
    def renamed(self) -> dict[str, str]:
        """Names in Kafka of the topics that have another one there, by the declared one."""
        return dict(pair.split("=", 1) for pair in filter(None, self.topic_names.split(",")))


class WorkerSettings(_Group):
    """A worker: what it is called, what it runs, where its data lie, when it gives up."""

    app_id: str = Field(
        "",
        pattern=NAME,
        max_length=100,
        description="Consumer group, and part of the state logs' names; empty: the App's own id.",
    )
    worker: str = Field("0", pattern=r"^[A-Za-z0-9._-]+$", description="Name of this worker on its machine.")
    agents: str = Field(
        "",
        description="Files of `agents/` that the workers of a group run, with commas; empty: those that "
        "the App names, else all.",
    )
    state_dir: Path = Field(
        Path(".millstream"), description="Folder of the local Kafka and of workers' data."
    )
    standbys: int = Field(
        1, ge=0, description="Workers that keep a warm copy of each partition's state, beside its owner."
    )
    session_timeout: timedelta = Field(
        timedelta(seconds=6),
        ge=timedelta(seconds=1),
        le=timedelta(minutes=5),
        description="Time after which a silent worker is replaced; a restart within it moves nothing.",
    )
    restore_deadline: timedelta = Field(
        timedelta(hours=1), gt=timedelta(0), description="Time that the restore of a partition may take."
    )
    stall_timeout: timedelta = Field(
        timedelta(minutes=1),
        ge=timedelta(seconds=2),
        description="Time that work may stand still before the worker ends, to be started again.",
    )
    ready_lag: int = Field(
        100_000, ge=0, description="Events that a partition may be behind with the worker ready."
    )
    log: Literal["text", "json"] = Field("text", description="Form of the workers' logs.")
    traces: bool = Field(
        False, description="Whether events with a sampled trace header are reported to OpenTelemetry."
    )

    @property
    def data_dir(self) -> Path:
        """Folder of this worker's tables; one worker at a time may use it."""
        return self.state_dir / "data" / f"{self.app_id}-{self.worker}"


class EventSettings(_Group):
    """Which records are events, and how many may be none."""

    max_event_bytes: int = Field(
        262_144, ge=1, le=900_000, description="Size of a value above which it is a dead letter."
    )
    max_future: timedelta = Field(
        timedelta(hours=24),
        ge=timedelta(0),
        description="Event time ahead of Kafka's append time above which it is impossible.",
    )
    dead_letter_run: int = Field(
        10_000, ge=0, description="Dead letters in a row, in a partition, at which the worker stops; 0: none."
    )
    dead_letter_share: float = Field(
        0.5, gt=0, le=1, description="Share of dead letters in 10,000 records at which it stops; 1: none."
    )


class WebSettings(_Group):
    """The web views."""

    web_host: str = Field("127.0.0.1", description="Address that the web views listen on.")
    web_port: int = Field(6066, ge=1, le=65535, description="Port of the web views.")
    web_advertise: str | None = Field(
        None,
        pattern=r"^https?://[^/\s?#]+$",
        description="URL of the web views for the group's other workers; empty: made of host and port.",
    )
    tokens: Path | None = Field(
        None, description="File of the tokens that the views ask for; without it they ask for none."
    )
    rate_limit: float = Field(
        0,
        ge=0,
        allow_inf_nan=False,
        description="Requests a second of one client of the views; 0: any.",
    )
    cors_origins: str = Field(
        "", description="Origins (https://host:port, with commas) whose pages may read the views."
    )
    tls_cert: Path | None = Field(
        None, description="Certificate of the views, PEM, with its chain; without it no TLS."
    )
    tls_key: Path | None = Field(None, description="Its private key, PEM.")
    tls_ca: Path | None = Field(
        None,
        description="Authority of the workers' certificates, PEM: a client with one of its certificates may "
        "ask anything, without a token.",
    )

    @field_validator("tokens", "tls_cert", "tls_key", "tls_ca", mode="before")
    @classmethod
    def _is_a_file(cls, name: object) -> object:
        if name == "":  # a variable that another was to fill: the views must not be open because of it
            raise ValueError("name a file, or leave the variable out")
        return name

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: str) -> str:
        for origin in filter(None, origins.split(",")):
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin: https://host:port, in small letters")
        return origins

    @model_validator(mode="after")
    def _has_certificate_and_key(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None) or (self.tls_ca and not self.tls_cert):
            raise ValueError(
                "MILLSTREAM_TLS_CERT and MILLSTREAM_TLS_KEY go together, MILLSTREAM_TLS_CA with both"
            )
        return self

    @property
    def origins(self) -> frozenset[str]:
        """Origins whose pages may read the views."""
        return frozenset(filter(None, self.cors_origins.split(",")))

    @property
    def advertised(self) -> str:
        """URL of the web views for the other workers."""
        if self.web_advertise:
            return self.web_advertise
        host = socket.gethostname() if self.web_host in ("0.0.0.0", "::") else self.web_host  # noqa: S104 (not bound)
        scheme = "https" if self.tls_cert else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.web_port}"


class Settings(KafkaSettings, TopicSettings, WorkerSettings, EventSettings, WebSettings):
    """All settings of the framework, one group a concern, with their units and defaults.

    Each comes from the environment unless it is given by name: `Settings(web_port=7000)`.
    """


class SettingsError(click.ClickException):
    """Settings in the environment that are not valid; both command lines print it as one message."""


S = TypeVar("S", bound=BaseSettings)
# The classes of settings that are read: their variables are known.
_KINDS: set[type[BaseSettings]] = {Settings}
# Variables that others read: the compose file, and the tests.
_OTHERS = {"MILLSTREAM_KAFKA_PORT"}


def read_settings(kind: type[S]) -> S:
    """Read settings from the environment.

    Args:
        kind: which ones; a service may have a class of its own, with the same prefix.

    Raises:
        SettingsError: a variable has a value that is not allowed.
    """
    _KINDS.add(kind)
    try:
        return kind()
    except ValidationError as exc:
        prefix = kind.model_config.get("env_prefix", "")
        lines = [
            f"  {_said(_variable(prefix, str(e['loc'][0])), e['input'])}: {e['msg']}"
            if e["loc"]
            else f"  {e['msg']}"
            for e in exc.errors()
        ]
        raise SettingsError("settings in the environment are not valid:\n" + "\n".join(lines)) from None


@cache
def settings() -> Settings:
    """Read the framework's settings once.

    Raises:
        SettingsError: a variable has a value that is not allowed.
    """
    return read_settings(Settings)


def _said(variable: str, value: object) -> str:
    return f"{variable}={os.environ.get(variable, value)}"


def _variable(prefix: str, name: str) -> str:
    return (name if name.isupper() else f"{prefix}{name}").upper()


def unknown_variables() -> Iterator[str]:
    """Yield a warning for each variable of the environment that looks like a setting, and is none."""
    known = _OTHERS | {
        _variable(kind.model_config.get("env_prefix", ""), name)
        for kind in _KINDS
        for name in kind.model_fields
    }
    for name in sorted(os.environ):
        if name.startswith("MILLSTREAM_") and name not in known:
            near = difflib.get_close_matches(name, known, 1, cutoff=0.85)  # the prefix is alike in all
            meant = f"; did you mean {near[0]}?" if near else ""
            yield f"{name} is no setting, it has no effect{meant}"
