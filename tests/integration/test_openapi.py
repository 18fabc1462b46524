"""A worker on real Kafka, asked by a fuzzer for everything that its description promises."""

import random
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.framework.service import Service, Worker
from tests.integration.test_pipeline import event

pytestmark = pytest.mark.kafka

# Requests of each operation.
EXAMPLES = 60
START = 1_769_860_800.0
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
AGENTS = "activity,page_totals,users,totals"
# A key of each table.
KEYS = {
    "clicks-and-purchases": "u1",
    "page-totals": "/a",
    "page-views": "/ä/ö?x=1&y=%2F#z",
    "profiles": "u1",
    "sales": "GB",
    "sales-of-days": "GB",
    "sales-per-day": "GB",
    "seen": "e399",
    "sessions": "u1",
    "top-pages": "all",
    "users-of-minutes": "all",
    "users-per-minute": "all",
    "users-taken": "activity.raw/0/3",
    "views-of-pages": "all",
}
# What tends to be too far, or another thing than it seems.
EDGES = {
    "key": ["/", "//", ".", "t/0/²", "t/0/99999999999999999999", "\0", "ü" * 500],
    "from": ["0", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "²", "1e400", "99999999999999999999"],
    "limit": ["٣", "10000", "10001", "0", "1"],
    "max_staleness": ["1e308", "nan", "-0"],
    "prefix": ["/", "\0", "\U0010ffff"],
    "by": ["views", "amount", "pages_error"],
}
EDGES |= {"to": EDGES["from"], "at": EDGES["from"], "top": EDGES["limit"], "after": EDGES["prefix"]}

TOP = ("top", "by", "at")


def fill(service: Service) -> None:
    """Give all tables something to say."""
    pages = ["/a", "/b", "/ä/ö?x=1&y=%2F#z"]
    messages = []
    for n in range(400):
        action = ("view", "click", "purchase", "refund")[n % 4]
        more = (
            {"amount": n / 3, "country": random.choice(["GB", "FR"])} if n % 4 > 1 else {"page": pages[n % 3]}
        )
        one = event(event_id=f"e{n}", user_id=f"u{n % 9}", action=action, timestamp=START + n * 20, **more)
        messages += [one, one] if n % 50 == 0 else [one]
    messages += [(b"u1", b"{"), (b"u2", b"\xff\xfe"), (None, b"[1]"), (b"u3", None)]
    service.send("activity.raw", messages)
    service.wait_done()
    service.wait_done(topic="activity.enriched")


class Fuzzer:
    """Sends requests to a worker, and checks its responses."""

    def __init__(self, worker: Worker, prefix: str) -> None:
        self.base = f"http://127.0.0.1:{worker.port}"
        self.session = requests.Session()
        self.statuses: dict[str, set[int]] = {}
        self._prefix = prefix
        (self._letter, *_) = worker.get("/dead-letters").json()["dead_letters"]

    def known(self, path: str) -> dict[str, Any]:
        """Return what is there, as parameters of a path."""
        if path.startswith("/dead-letters/"):
            return {name: self._letter[name] for name in ("topic", "partition", "offset")}
        if not path.endswith("/{key}"):
            return {}
        table = "sales" if path.startswith("/stream/") else path.split("/")[2]
        key = KEYS[table].replace("activity", f"{self._prefix}activity")
        return {"key": key} | ({"table": table} if path.startswith("/stream/") else {})

    def ask(self, case: Any) -> None:
        request = case.as_transport_kwargs(base_url=self.base)
        with self.session.request(**request, stream=True, timeout=30) as answer:
            if answer.headers.get("Content-Type", "").startswith("text/event-stream"):
                answer._content = next(answer.iter_content(None))  # the rest never ends
                assert answer.content.startswith(b"retry: ")
            self.statuses.setdefault(case.operation.label, set()).add(answer.status_code)
            excluded = []
            if answer.status_code == 503:
                # A designed answer while partitions move.
                assert int(answer.headers["Retry-After"]) >= 1
                excluded.append(not_a_server_error)
            case.validate_response(answer, checks=CHECKS, excluded_checks=excluded)


def test_no_request_breaks_what_is_described(service: Service) -> None:
    worker = service.worker(MILLSTREAM_AGENTS=AGENTS).wait_ready()
    fill(service)
    schema = schemathesis.openapi.from_dict(worker.get("/openapi.json").json())
    fuzzer = Fuzzer(worker, service.prefix)
    for found in schema.get_all_operations():
        fuzz(fuzzer, found.ok())
    assert [label for label, statuses in fuzzer.statuses.items() if 200 not in statuses] == []
    assert worker.process.poll() is None
    assert "Traceback" not in worker.log.read_text()


def fuzz(fuzzer: Fuzzer, operation: Any) -> None:
    """Send many requests, valid and invalid ones."""
    there = fuzzer.known(operation.path)
    declared = EDGES.keys() & {one["name"] for one in operation.definition.raw.get("parameters", [])}
    # Readers of streams are there for a while after they have left, and a worker has 64.
    most = 12 if operation.path.startswith("/stream/") else EXAMPLES

    @settings(
        max_examples=most,
        deadline=None,
        database=None,
        derandomize=True,  # what fails must fail again
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=operation.as_strategy(GenerationMode.POSITIVE) | operation.as_strategy(GenerationMode.NEGATIVE),
        edges=st.fixed_dictionaries(
            {}, optional={name: st.sampled_from(EDGES[name]) for name in sorted(declared)}
        ),
        alone=st.booleans(),
        known=st.booleans(),
    )
    def ask(case: Any, edges: dict[str, str], alone: bool, known: bool) -> None:
        if alone:
            top = edges.keys() & {"by", "at"}
            case.query = {"top": "3"} if top else {}
            edges = {name: value for name, value in edges.items() if not top or name in TOP}
        case.query |= {name: value for name, value in edges.items() if name != "key"}
        if known:
            case.path_parameters |= there
        elif "key" in edges:
            case.path_parameters["key"] = edges["key"]
        fuzzer.ask(case)

    ask()
