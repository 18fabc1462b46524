"""The real files beside the checkout, against sums made from them by plain means."""

import csv
import gzip
import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest

from millstream.sources.record import BadLine, Record
from tests.unit.test_sources_files import read_as

pytestmark = pytest.mark.data
DATA = Path(__file__).parents[3] / "shared" / "data"


def files(pattern: str) -> list[Path]:
    found = sorted(DATA.glob(pattern))
    if not found:
        pytest.skip(f"no {pattern} in {DATA}: the real data is not beside this checkout")
    return found


@pytest.fixture(scope="module")
def retail() -> tuple[list[Record | BadLine], list[dict[str, str]]]:
    items: list[Record | BadLine] = []
    rows: list[dict[str, str]] = []
    for file in files("retail_*.csv.gz"):
        items += read_as(file, "retail")
        with gzip.open(file, "rt", encoding="utf-8", newline="") as text:
            rows += csv.DictReader(text)
    return items, rows


def test_every_row_is_a_record(retail: tuple[list[Record | BadLine], list[dict[str, str]]]) -> None:
    items, rows = retail
    assert len(items) == len(rows) > 200_000
    assert [item for item in items if isinstance(item, BadLine)] == []


def test_as_many_ids_as_distinct_rows(retail: tuple[list[Record | BadLine], list[dict[str, str]]]) -> None:
    items, rows = retail
    ids = [json.loads(item.value or b"")["event_id"] for item in items if isinstance(item, Record)]
    first: dict[tuple[str, ...], str] = {}
    for row, event_id in zip(rows, ids, strict=True):
        assert first.setdefault(tuple(row.values()), event_id) == event_id
    assert len(set(ids)) == len(first) < len(rows)


def test_repeated_rows_have_the_same_key(retail: tuple[list[Record | BadLine], list[dict[str, str]]]) -> None:
    keys: dict[str, bytes | None] = {}
    for item in retail[0]:
        assert isinstance(item, Record)
        assert keys.setdefault(json.loads(item.value or b"")["event_id"], item.key) == item.key


def test_sums_by_country_are_exact(retail: tuple[list[Record | BadLine], list[dict[str, str]]]) -> None:
    items, rows = retail
    ours: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    theirs: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for item in items:
        assert isinstance(item, Record)
        event = json.loads(item.value or b"", parse_float=Decimal)
        ours[event["country"], event["action"]] += event["amount"]
    for row in rows:
        action = "refund" if row["Quantity"].startswith("-") else "purchase"
        theirs[row["Country"], action] += Decimal(row["Quantity"]) * Decimal(row["UnitPrice"])
    assert ours == theirs


def test_every_line_of_an_access_log_is_a_record_or_bad() -> None:
    for file in files("*access*.log.gz"):
        items = list(read_as(file, "access-log"))
        lines = [line for line in gzip.decompress(file.read_bytes()).split(b"\n") if line]
        assert len(items) == len(lines)
        bad = {item.raw for item in items if isinstance(item, BadLine)}
        assert len(bad) <= len(lines) / 100
        ids = {json.loads(item.value or b"")["event_id"] for item in items if isinstance(item, Record)}
        assert len(ids) == len(set(lines) - bad)
        for item, line in zip(items, lines, strict=True):
            if isinstance(item, Record):
                assert item.key == line.split(b" ")[0]
