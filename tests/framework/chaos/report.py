"""What a run did, and whether it was right, in one line."""

from collections import Counter
from dataclasses import dataclass, field

EXAMPLES = 5

LINES: list[str] = []
"""All reports so far, for the end of the test session."""


@dataclass
class Report:
    """The account of one run.

    Attributes:
        faults: what was done to the workers and to Kafka.
        ended: workers that ended by themselves and were started again.
        rebalances: generations of the consumer group.
        skipped: events below the state's position at a take-over, though not yet committed by the group.
        fences: take-overs, as the state log has them.
        foreign: commits of workers that had lost their partition.
        repeats: outputs that were sent again, with the same key, origin and bytes.
        lost: outputs that are missing.
        doubled: outputs too many, when the repeats are removed.
        wrong: counts and sums that are not the truth, in topics and in tables.
    """

    name: str
    seed: int = 0
    events: int = 0
    expected: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    ended: int = 0
    rebalances: int = 0
    skipped: int = 0
    fences: int = 0
    foreign: int = 0
    repeats: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    more: dict[str, object] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    def compare(self, what: object, found: object, right: object) -> None:
        """Count a value that is wrong, and keep the first ones for people."""
        if found != right:
            self.wrong += 1
            if len(self.examples) < EXAMPLES:
                self.examples.append(f"{what}: {found}, not {right}")

    @property
    def exact(self) -> bool:
        return (self.lost, self.doubled, self.wrong) == (0, 0, 0)

    @property
    def kills(self) -> int:
        return self.faults["kill"] + self.faults["lose"]

    def __str__(self) -> str:
        faults = ",".join(f"{kind}:{count}" for kind, count in sorted(self.faults.items())) or "none"
        more = "".join(f" {name}={value}" for name, value in self.more.items())
        return (
            f"{self.name}: lost={self.lost} doubled={self.doubled} wrong_counts={self.wrong} "
            f"kills={self.kills} faults={faults} ended={self.ended} rebalances={self.rebalances} "
            f"fences={self.fences} foreign_commits={self.foreign} skipped_by_position={self.skipped} "
            f"repeats={self.repeats} events={self.events} outputs={self.expected} seed={self.seed}{more}"
            + "".join(f"\n  {example}" for example in self.examples)
        )

    def show(self) -> None:
        LINES.append(str(self))
        print(f"\n{self}", flush=True)
