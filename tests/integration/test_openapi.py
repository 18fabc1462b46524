"""A worker on real Kafka, asked by a fuzzer for everything that its description promises."""

import random
import time
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

from tests.integration.test_pipeline import event
from tests.service import Service, Worker

pytestmark = pytest.mark.kafka

# Requests of each operation.
EXAMPLES = 25
START = 1_769_860_800.0
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
AGENTS = "activity,page_totals,users,totals"
# Of each table some are there.
KEYS = ["/a", "/b", "/ä/ö?x=1&y=%2F#z", "GB", "unknown", "all", "u1", "ü", "e7", "activity.raw/0/3", "."]


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
    """Asks a worker, and checks what it answers."""

    def __init__(self, worker: Worker) -> None:
        self.base = f"http://127.0.0.1:{worker.port}"
        self.session = requests.Session()
        self.statuses: dict[str, set[int]] = {}

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
    worker = service.worker(MILLRACE_AGENTS=AGENTS).wait_ready()
    fill(service)
    schema = schemathesis.openapi.from_dict(worker.get("/openapi.json").json())
    operations = [found.ok() for found in schema.get_all_operations()]
    fuzzer = Fuzzer(worker)
    for operation in operations:
        began = time.monotonic()
        fuzz(fuzzer, operation)
        print(operation.label, time.monotonic() - began, flush=True)
    print(fuzzer.statuses)
    assert worker.process.poll() is None
    assert "Traceback" not in worker.log.read_text()


def fuzz(fuzzer: Fuzzer, operation: Any) -> None:
    """Ask in many ways, good and bad ones."""
    keys = st.sampled_from(KEYS)

    @settings(
        max_examples=12 if operation.path.startswith("/stream") else EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=operation.as_strategy(GenerationMode.POSITIVE) | operation.as_strategy(GenerationMode.NEGATIVE),
        key=keys | st.none(),
    )
    def ask(case: Any, key: str | None) -> None:
        if key is not None and "key" in case.path_parameters:
            case.path_parameters["key"] = key
        fuzzer.ask(case)

    ask()
