"""Commands for any topic and Record: which topic is meant, files of its fields, reference topics."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from millstream.cli import common, dead_letters, load, main, produce, tail
from tests.framework.unit.test_load import Sink

CSV = """\
number,item,at,pieces,price,express,kind,tags,shelf
1,bolt,2026-01-31T12:00:00Z,10,0.10,yes,in,,A1
2,nut,1769860801,5,,,out,"[""small""]",A2
3,bolt,2026-01-31T12:00:02Z,0,,,,,A1
4,bolt,2026-01-31T12:00:03Z,ten,,,,,A1
5,bolt,2026-01-31T12:00:03Z,1,1.50,maybe,,,A1
"""
OTHER_NAMES = "no,article,at,pieces\n7,bolt,1769860801,1\n"
PRICES = "item,cents,name\nbolt,12,Bolt\nnut,-1,\nnut,7,Nut\n"


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Sink:
    sink = Sink()
    monkeypatch.setattr(common, "bootstrap", sink.bootstrap)
    monkeypatch.setattr(load, "run", sink.run)
    monkeypatch.setattr(produce, "run", sink.run)
    return sink


@pytest.fixture
def no_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(_: str) -> set[str]:
        return {"others"}

    for module in (tail, dead_letters):
        monkeypatch.setattr(module, "topic_names", none)
        monkeypatch.setattr(module, "kafka_address", lambda: "kafka:9092")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["-A", "tests.framework.apps.stock", *map(str, arguments)])


def file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_csv_of_the_records_fields(tmp_path: Path, sink: Sink) -> None:
    ran = invoke("load", "--topic", "deliveries", file(tmp_path / "d.csv", CSV))
    assert ran.exit_code == 0, ran.output
    assert "ignored, since Delivery has no such field: shelf" in ran.stderr
    assert "bad lines: 3" in ran.stdout
    assert sink.options["topic"] == "deliveries"
    good = [record for record in sink.records if record.key is not None]
    assert [record.key for record in good] == [b"bolt", b"nut"]
    first, second = (json.loads(record.value or b"") for record in good)
    assert first == {
        "number": 1,
        "item": "bolt",
        "at": "2026-01-31T12:00:00Z",
        "pieces": 10,
        "price": 0.10,
        "express": True,
        "kind": "in",
    }
    assert second == {
        "number": 2,
        "item": "nut",
        "at": 1769860801,
        "pieces": 5,
        "kind": "out",
        "tags": ["small"],
    }
    assert b'"price":0.10' in (good[0].value or b"")  # as it was written


def test_columns_may_have_the_fields_other_names(tmp_path: Path, sink: Sink) -> None:
    ran = invoke("load", "--topic", "deliveries", "--as", "record", file(tmp_path / "d.csv", OTHER_NAMES))
    assert ran.exit_code == 0, ran.output
    (record,) = sink.records
    assert (record.key, json.loads(record.value or b"")["no"]) == (b"bolt", 7)


def test_a_reference_topic_gets_valid_rows_only(tmp_path: Path, sink: Sink) -> None:
    ran = invoke("load", "--topic", "prices", file(tmp_path / "p.csv", PRICES))
    assert ran.exit_code == 1
    assert "1 bad lines were left out" in ran.stderr
    assert "line 3" in ran.stdout
    assert [(one.key, json.loads(one.value or b"")["cents"]) for one in sink.records] == [
        (b"bolt", 12),
        (b"nut", 7),
    ]
    assert sink.options["topic"] == "prices"
    lines = '{"item": "bolt", "cents": 1}\n'
    assert invoke("load", "--topic", "prices", file(tmp_path / "p.ndjson", lines)).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("load", "FILE"), "say which source topic, with --topic; there are: deliveries, recalls"),
        (("produce", "--count", 1), "say which source topic, with --topic; there are: deliveries, recalls"),
        (
            ("load", "--topic", "orders", "FILE"),
            "'orders' is no source topic of this service; there are: deliveries, recalls",
        ),
        (("load", "--as", "xml", "FILE"), "'xml' is not a format of this service; known are: record"),
        (
            ("lateness", "orders"),
            "orders is neither a file nor a source topic; the latter are: deliveries, priced, recalls",
        ),
        (("tail", "orders"), "this service declares no topic 'orders'; there are: deliveries,"),
        (
            ("dead-letters", "list", "--topic", "orders"),
            "'orders' is neither a source topic nor one of dead letters",
        ),
        (
            ("replay", "--topic", "prices", "--out", "OUT", "FILE"),
            "`--reference prices=FILE` gives its values",
        ),
        (
            ("replay", "--topic", "recalls", "--reference", "cost=FILE", "--out", "OUT", "FILE"),
            "no reference topic 'cost'; known are: prices",
        ),
        (
            ("replay", "--topic", "recalls", "--reference", "prices=BAD", "--out", "OUT", "FILE"),
            "1 values of prices are bad:",
        ),
    ],
)
@pytest.mark.usefixtures("no_kafka", "sink")
def test_what_is_meant_must_be_plain(tmp_path: Path, arguments: tuple[Any, ...], says: str) -> None:
    given = file(tmp_path / "d.csv", CSV)
    bad = file(tmp_path / "p.csv", PRICES)
    names = {"FILE": str(given), "OUT": str(tmp_path / "out")}
    text = [
        names.get(str(one), str(one).replace("FILE", str(given)).replace("BAD", str(bad)))
        for one in arguments
    ]
    ran = invoke(*text)
    assert ran.exit_code != 0
    assert says.replace("FILE", "FILE") in " ".join(ran.stderr.split())


def test_made_up_events_of_a_topic(sink: Sink) -> None:
    ran = invoke("produce", "--topic", "deliveries", "--count", 50, "--start", "2026-01-31")
    assert ran.exit_code == 0, ran.output
    assert (len(sink.records), sink.options["topic"]) == (50, "deliveries")
    assert all(record.key for record in sink.records)
    assert "made up from the Record's types" in " ".join(invoke("produce", "--help").output.split())


def test_a_replay_takes_a_csv_and_a_reference(tmp_path: Path) -> None:
    prices = file(tmp_path / "p.csv", "item,cents\nbolt,12\n")
    out = tmp_path / "out"
    ran = invoke(
        "replay",
        "--topic",
        "deliveries",
        "--reference",
        f"prices={prices}",
        "--out",
        out,
        file(tmp_path / "d.csv", CSV),
    )
    assert ran.exit_code == 0, ran.output
    sent = [json.loads(line)["value"] for line in (out / "priced.ndjson").read_text().splitlines()]
    assert sorted((one["item"], one["cents"]) for one in sent) == [("bolt", 120), ("nut", 0)]
    assert len((out / "deliveries.dead-letters.ndjson").read_text().splitlines()) == 3


def test_lateness_of_a_csv(tmp_path: Path) -> None:
    ran = invoke("lateness", "--topic", "deliveries", file(tmp_path / "d.csv", CSV))
    assert ran.exit_code == 0, ran.output
    assert "2 events" in ran.output
