"""What is declared of a service: which topics are read in batches, and how their agents fail."""

from dataclasses import dataclass, field
from typing import Any

from millstream.engine.agents import AgentGroup
from millstream.engine.error_policy import ErrorPolicy
from millstream.engine.source import Source
from millstream.tables.reference import Reference


@dataclass
class Topology:
    """What is declared of a service.

    Attributes:
        sources: the topics that are read in batches, by name.
        agents: the loaded agents, by the topic that they read in batches.
        policies: what the agents' exceptions mean, by topic.
        copartitioned: names of the output topics whose records stay in their source's partition.
    """

    sources: dict[str, Source] = field(default_factory=dict)
    agents: dict[str, AgentGroup] = field(default_factory=dict)
    policies: dict[str, ErrorPolicy] = field(default_factory=dict)
    copartitioned: set[str] = field(default_factory=set)

    @property
    def references(self) -> dict[str, Reference[Any]]:
        """All reference topics that agents look up, by name."""
        return {one.name: one for source in self.sources.values() for one in source.references}
