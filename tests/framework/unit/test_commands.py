"""Commands for any topic and Record: which topic is meant, files of its fields, reference topics."""

import json
import uuid
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import faust
import pytest
from click.testing import CliRunner, Result

import millstream
from millstream import EventTime, Fallback, From
from millstream.cli import common, dead_letters, files, main, produce, tail
from millstream.engine.source import Source
from millstream.kafka.records import Unsent
from millstream.records import Invalid
from millstream.sources.files import read
from millstream.sources.formats import LineFormat
from millstream.sources.generator import Generator
from millstream.sources.record import Record
from millstream.sources.record_format import RecordFormat
from tests.framework.apps.stock import Recall, app
from tests.framework.sink import Sink

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


def refused(source: Source, record: Record) -> bool:
    """Return whether the service would not accept a record, had it just come."""
    (event,) = source.decode([Unsent(record.value, int(record.event_time * 1000), key=record.key)])
    return isinstance(event, Invalid)


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


def test_keys_of_a_reference_topic_are_deleted(sink: Sink) -> None:
    ran = invoke("load", "--topic", "prices", "--delete", "bolt", "--delete", "Größe 10")
    assert (ran.exit_code, ran.stdout) == (0, "sent 2 deletions to prices\n")
    assert [(one.key, one.value) for one in sink.records] == [(b"bolt", None), ("Größe 10".encode(), None)]
    assert sink.options["topic"] == "prices"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("load", "--topic", "prices"), "give the FILES to load"),
        (("load", "--delete", "a"), "--delete goes with --topic of a reference topic, and with nothing else"),
        (("load", "--topic", "prices", "--delete", "a", "FILE"), "and with nothing else"),
        (("load", "--topic", "prices", "--delete", "\udcff"), "a key is text in UTF-8"),
        (
            ("load", "--topic", "recalls", "--delete", "a"),
            "'recalls' is no reference topic, only these have keys to delete; there are: prices",
        ),
        (("load", "FILE"), "say which source topic, with --topic; there are: deliveries, recalls"),
        (("produce", "--count", 1), "say which source topic, with --topic; there are: deliveries, recalls"),
        (
            ("load", "--topic", "orders", "FILE"),
            "'orders' is no source topic of this service; there are: deliveries, recalls",
        ),
        (("load", "--as", "xml", "FILE"), "'xml' is not a format of this service; known are: record"),
        (
            ("lateness", "orders"),
            "orders is neither a file nor a source topic; the latter are: deliveries, recalls, priced",
        ),
        (("tail", "orders"), "this service declares no topic 'orders'; there are: deliveries,"),
        (
            ("dead-letters", "list", "--topic", "orders"),
            "'orders' is neither a source topic nor one of dead letters",
        ),
        (
            ("load", "--topic", "orders", "FILE"),
            "there are: deliveries, recalls, priced; and reference topics: prices",
        ),
        (("produce", "--topic", "prices"), "'prices' is a reference topic, whose values are no events"),
        (("lateness", "--topic", "prices", "FILE"), "'prices' is a reference topic"),
        (
            ("replay", "--topic", "recalls", "--reference", "prices", "--out", "OUT", "FILE"),
            "--reference takes TOPIC=FILE, not 'prices'",
        ),
        (("tail", "-n", "-1", "deliveries"), "-1 is not in the range"),
        (("dead-letters", "show", "deliveries"), "'deliveries' is no origin: topic/partition/offset"),
        (("dead-letters", "show", "orders/0/1"), "no dead letter has the origin orders/0/1"),
        (("dead-letters", "show", "deliveries/0/1"), "no dead letter has the origin deliveries/0/1"),
        (("dead-letters", "replay", "recalls/0/1", "--value", "FILE", "--mend", "cat"), "give one"),
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
    assert invoke("produce", "--topic", "recalls", "--count", 9, "--invalid", 1).exit_code == 0
    assert invoke("produce", "--topic", "recalls", "--count", 9).exit_code == 0
    recalls = app.topology.sources["recalls"]
    assert [refused(recalls, one) for one in sink.records[50:]] == [True] * 9 + [False] * 9


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
    assert "d.csv, line 5: pieces is not a number: 'ten'" in ran.stdout


def test_lateness_of_a_csv(tmp_path: Path) -> None:
    ran = invoke("lateness", "--topic", "deliveries", file(tmp_path / "d.csv", CSV))
    assert ran.exit_code == 0, ran.output
    assert "2 events" in ran.stdout
    assert "left out, 3 bad lines:" in ran.stderr
    assert "d.csv, line 4: out-of-range: " in ran.stderr


class Level(Enum):
    LOW = 1
    HIGH = 2


class Shelf(faust.Record):
    code: Annotated[str, From("shelf_no", numbers=True)]
    at: Annotated[EventTime, From(fallback=Fallback.RECORD_TIME)]
    level: Level | None = None
    row: Literal[1, "top"] | None = None
    mark: int | str | None = None
    more: Any = None
    weight: Decimal | None = None
    owner: uuid.UUID | None = None
    place: Recall | None = None


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ("level", "2", 2),
        ("row", "1", 1),
        ("row", "top", "top"),
        ("mark", "7", 7),
        ("mark", "left", "left"),
        ("more", '"[1, 2]"', [1, 2]),
        ("more", "free text", "free text"),
        ("weight", "1.250", "1.250"),
        ("owner", "12345678-1234-4234-8234-123456789abc", "12345678-1234-4234-8234-123456789abc"),
        ("place", '"{""item"": ""bolt"", ""at"": 1}"', {"item": "bolt", "at": 1}),
    ],
)
def test_a_cell_becomes_what_the_fields_type_is_in_json(
    tmp_path: Path, column: str, cell: str, value: object
) -> None:
    app = millstream.App("shelves", agents=())
    source = app.topology.sources[
        app.source_topic("shelves", Shelf, key="code", event_time="at").get_topic_name()
    ]
    path = file(tmp_path / "s.csv", f"shelf_no,{column}\n0101,{cell}\n")
    (record,) = read(path, RecordFormat(source), source)
    assert isinstance(record, Record), record
    assert record.key == b"0101"
    assert json.loads(record.value or b"") == {"shelf_no": "0101", column: value}


def test_a_header_that_lacks_a_field_by_any_name_is_refused(tmp_path: Path, sink: Sink) -> None:
    ran = invoke(
        "load", "--topic", "deliveries", file(tmp_path / "d.csv", "number;article;at;pieces\n1;bolt;1;1\n")
    )
    assert ran.exit_code == 1
    assert "lacks number, item, at, pieces" in ran.stderr
    assert not sink.records


def shop(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["-A", "tests.framework.apps.shop", *map(str, arguments)])


def test_a_generator_is_for_its_own_topic(sink: Sink) -> None:
    assert shop("produce", "--count", 20, "--topic", "shop.clean", "--rate", 0).exit_code == 0
    assert sink.options["topic"] == "shop.clean"
    pages = {json.loads(one.value or b"").get("page") for one in sink.records}
    assert any(page is not None and page.startswith("page ") for page in pages)  # made up from its Record
    ran = shop("produce", "--count", 20, "--topic", "shop.clean", "--pages", 3)
    assert ran.exit_code == 2
    assert "--pages is an option of another topic's generator" in ran.stderr
    assert shop("produce", "--count", 20, "--topic", "shop.raw", "--pages", 3).exit_code == 0


def test_defaults_of_a_generator_are_for_its_own_topic(monkeypatch: pytest.MonkeyPatch, sink: Sink) -> None:
    service = millstream.App("defaults", agents=())
    one = service.source_topic("one", Recall, key="item", event_time="at")
    service.source_topic("other", Recall, key="item", event_time="at")
    every = click.Option(["--invalid"], type=int, default=7)  # every seventh
    service.add_generator(Generator(one, lambda **_: iter(()), options=(every,)))
    monkeypatch.setattr(produce, "load_app", lambda: service)

    def bad(*arguments: object) -> int:
        del sink.records[:]
        ran = invoke("produce", "--topic", "other", "--count", 100, *arguments)
        assert ran.exit_code == 0, ran.output
        return sum(refused(service.topology.sources["other"], one) for one in sink.records)

    assert (bad(), bad("--invalid", 1)) == (0, 100)
    assert "7" in invoke("produce", "--topic", "other", "--count", 1, "--invalid", 7).stderr


def test_a_format_is_for_its_own_record(tmp_path: Path, sink: Sink) -> None:
    given = file(tmp_path / "e.csv", "a,b\n")
    ran = shop("load", "--as", "sales", "--topic", "shop.page-counts", given)
    assert ran.exit_code == 2
    assert "--as sales is a format of shop.raw, not of shop.page-counts" in ran.stderr
    assert not sink.records


@pytest.mark.parametrize(
    ("raw", "one_line", "shown"),
    [
        (None, "-", "-"),
        ("Größe 10\u00a0m".encode(), "Größe 10\u00a0m", "Größe 10\u00a0m"),
        (b"\xff\x00a", r"\xff\x00a", r"\xff\x00a"),
        (b"\x1b[31mred\r", r"\x1b[31mred\r", r"\x1b[31mred\r"),
        (b'{\n\t"a": 1}', r'{\n\t"a": 1}', '{\n\t"a": 1}'),
    ],
)
def test_bytes_are_shown_so_that_a_terminal_stays_as_it_is(
    raw: bytes | None, one_line: str, shown: str
) -> None:
    assert (common.line(raw), common.text(raw)) == (one_line, shown)


def test_the_key_of_a_mended_dead_letter_is_the_records() -> None:
    app = millstream.App("keys", agents=())
    source = app.topology.sources[
        app.source_topic("shelves", Shelf, key="code", event_time="at").get_topic_name()
    ]
    assert dead_letters._key(b'{"shelf_no": 7}', source) == b"7"
    assert dead_letters._key(b'{"other": 7}', source) is None
    assert dead_letters._key(None, source) is None


def test_a_format_of_one_of_two_topics_does_not_choose_it(monkeypatch: pytest.MonkeyPatch) -> None:
    app = millstream.App("two", agents=())
    one = app.source_topic("one", Shelf, key="code", event_time="at")
    app.source_topic("other", Shelf, key="code", event_time="at")
    app.add_file_formats(LineFormat("plain", one, str.encode, about="text"))
    monkeypatch.setattr(files, "load_app", lambda: app)
    with pytest.raises(click.UsageError, match="say which source topic, with --topic; there are: one, other"):
        files.format_and_source(None, None)
    names = [
        (rows.name, source.topic)
        for rows, source in (
            files.format_and_source(None, "one"),
            files.format_and_source(None, "other"),
            files.format_and_source("plain", None),
            files.format_and_source("record", "one"),
        )
    ]
    assert names == [("plain", "one"), ("record", "other"), ("plain", "one"), ("record", "one")]
