"""What must come out of the ad events."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import orjson

from bench.expected import newest_views
from bench.yahoo.campaigns import CAMPAIGN_OF, WINDOW
from millstream.kafka.reading import records
from millstream.sources.record import Record


@dataclass
class Expected:
    """What must be in the output topics.

    Attributes:
        ids: of all events.
        views: distinct views by campaign and first second of the ten.
    """

    ids: set[str] = field(default_factory=set)
    views: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def outputs(self) -> int:
        """Number of counts that are sent by who sends one for each view."""
        return self.views.total()

    @property
    def rows(self) -> int:
        """The size of the state is not looked at."""
        return 0

    def watch(self, source: Iterable[Record], now: float) -> Iterator[Record]:  # noqa: ARG002 (the protocol's)
        """Pass records on, and take note of what must become of them."""
        for record in source:
            self._add(orjson.loads(record.value or b""))
            yield record

    def _add(self, event: dict[str, str | int]) -> None:
        if event["event_id"] in self.ids:
            return
        self.ids.add(str(event["event_id"]))
        if event["event_type"] == "view":
            second = int(event["event_time"]) // 1000
            self.views[CAMPAIGN_OF[str(event["ad_id"])], second // WINDOW * WINDOW] += 1

    async def problems(self, kafka: str, prefix: str) -> list[str]:
        """Compare with the topics behind a prefix; no line is no difference."""
        found = []
        letters = sum([1 async for _ in records(kafka, f"{prefix}ads.dead-letters")])
        if letters:
            found.append(f"dead letters: {letters}, expected none")
        views = await newest_views(kafka, f"{prefix}ads.counts", "campaign_id")
        if views != self.views:
            found.append(f"views: {views.total()} in all, expected {self.views.total()}")
        return found
