import gzip
import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app import app
from millstream.cli import main
from millstream.sources.files import read
from millstream.sources.lines import GZIP_MAGIC, Reading
from millstream.sources.record import BadLine, Record, SourceError

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
SALE = "536365,85123A,WHITE HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom"
LOG = (
    '83.149.9.216 - - [17/May/2015:10:05:03 +0200] "GET /a/b.png?q=1&r=%20 HTTP/1.1" 200 203023 '
    '"http://semicomplete.com/" "Mozilla/5.0 (say \\"hi\\")"'
)
EVENT = {
    "event_id": "e1",
    "user_id": "u1",
    "action": "view",
    "timestamp": "2026-01-01T00:00:00Z",
    "page": "/",
}


def read_as(file: Path, name: str, reading: Reading | None = None) -> Iterator[Record | BadLine]:
    """Read a file in a format of the service."""
    form = app.file_formats[name]
    return read(file, form, app.topology.sources[form.topic.get_topic_name()], reading)


def items(folder: Path, name: str, content: str | bytes, mapping: str) -> list[Record | BadLine]:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_as(file, mapping))


def retail(folder: Path, *rows: str, header: str = HEADER) -> list[Record | BadLine]:
    return items(folder, "r.csv", "\r\n".join([header, *rows]) + "\r\n", "retail")


def exact(item: Record | BadLine) -> Any:
    assert isinstance(item, Record), item
    return json.loads(item.value or b"", parse_float=Decimal)


def reasons(found: Iterable[Record | BadLine]) -> list[str]:
    return [item.reason.partition(": ")[0] for item in found if isinstance(item, BadLine)]


def test_a_sale_is_a_purchase(tmp_path: Path) -> None:
    (item,) = retail(tmp_path, SALE)
    event = exact(item)
    assert event.pop("event_id").startswith("retail-")
    assert event == {
        "user_id": "17850.0",
        "action": "purchase",
        "timestamp": "2010-12-01T08:26:00+00:00",
        "page": "/products/85123A",
        "amount": Decimal("15.30"),
        "quantity": 6,
        "currency": "GBP",
        "country": "United Kingdom",
        "session_id": "536365",
        "attributes": {
            "stock_code": "85123A",
            "description": "WHITE HOLDER",
            "unit_price": Decimal("2.55"),
        },
    }
    assert isinstance(item, Record)
    assert item.key == b"17850.0"
    assert item.event_time == 1_291_191_960


def test_a_negative_quantity_is_a_refund(tmp_path: Path) -> None:
    event = exact(*retail(tmp_path, "C536379,D,Discount,-3,2010-12-01 09:41:00,27.505,14527.0,EIRE"))
    assert (event["action"], event["amount"], event["quantity"]) == ("refund", Decimal("-82.515"), -3)


def test_a_missing_customer_is_a_guest_of_the_invoice(tmp_path: Path) -> None:
    (item,) = retail(tmp_path, "536414,22139,,56,2010-12-01 11:52:00,0.0,,United Kingdom")
    assert isinstance(item, Record)
    assert item.key == b"guest-536414"
    assert exact(item)["amount"] == 0


@pytest.mark.parametrize("price", ["-11062.06", "0", "0.001", "8142.75", "1e-05"])
def test_any_price_is_kept_exactly(tmp_path: Path, price: str) -> None:
    event = exact(
        *retail(tmp_path, f"A563187,B,Adjust bad debt,1,2011-08-12 14:52:00,{price},,United Kingdom")
    )
    assert event["action"] == "purchase"
    assert event["amount"] == Decimal(price)


def test_zero_has_no_sign(tmp_path: Path) -> None:
    (item,) = retail(tmp_path, "536414,22139,lost,-5,2010-12-01 11:52:00,0.00,,France")
    assert isinstance(item, Record)
    assert b'"amount":0.00,' in (item.value or b"")


def test_equal_rows_are_the_same_event_and_others_are_not(tmp_path: Path) -> None:
    found = retail(tmp_path, SALE, SALE, SALE.replace("WHITE", "White"), SALE.replace("2.55", "2.550"))
    ids = [exact(item)["event_id"] for item in found]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert found[0] == found[1]


def test_the_order_of_the_columns_does_not_matter(tmp_path: Path) -> None:
    turned = ",".join(reversed(HEADER.split(",")))
    (one,), (other,) = (
        retail(tmp_path, SALE),
        retail(tmp_path, ",".join(reversed(SALE.split(","))), header=turned),
    )
    assert one == other


def test_quoted_commas_quotes_and_newlines_belong_to_the_cell(tmp_path: Path) -> None:
    (item, bad, last) = retail(
        tmp_path, SALE.replace("WHITE HOLDER", '"A ""B"", C\r\nD"'), SALE.replace("6,2010", "x,2010"), SALE
    )
    assert exact(item)["attributes"]["description"] == 'A "B", C\r\nD'
    assert isinstance(bad, BadLine)
    assert bad.line == 4
    assert bad.raw == SALE.replace("6,2010", "x,2010").encode()
    assert isinstance(last, Record)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (",6,", ",,", "Quantity is not a number"),
        (",6,", ",six,", "Quantity is not a number"),
        (",6,", ",6.5,", "Quantity is not a whole number"),
        ("2.55", "", "UnitPrice is not a number"),
        ("2.55", "NaN", "UnitPrice is not a number"),
        ("2.55", "1e999999999", "UnitPrice is not a number"),
        ("2.55", "1e50", "out-of-range"),
        ("2010-12-01 08:26:00", "2010-13-01", "InvoiceDate is not a time"),
        ("2010-12-01 08:26:00", "1910-12-01", "impossible-time"),
        ("2010-12-01 08:26:00", "9999-12-01", "impossible-time"),
        ("536365", "", "InvoiceNo is empty"),
        ("85123A", " ", "StockCode is empty"),
        (",United Kingdom", "", "wrong number of columns"),
        ("United Kingdom", "x" * 100, "out-of-range"),
        ("United Kingdom", "x" * 300_000, "not CSV"),
    ],
)
def test_a_row_that_cannot_be_mapped_is_a_bad_line(tmp_path: Path, old: str, new: str, reason: str) -> None:
    row = SALE.replace(old, new, 1)
    found = retail(tmp_path, SALE, row, SALE)
    assert reasons(found) == [reason]
    assert isinstance(found[1], BadLine)
    assert (found[1].line, found[1].raw) == (3, row.encode())


def test_dates_of_a_spreadsheet_are_read(tmp_path: Path) -> None:
    event = exact(*retail(tmp_path, SALE.replace("2010-12-01 08:26:00", "12/1/2010 8:26")))
    assert event["timestamp"] == "2010-12-01T08:26:00+00:00"


def test_more_columns_go_to_the_attributes(tmp_path: Path) -> None:
    event = exact(*retail(tmp_path, SALE + ",web", header=HEADER + ",Channel"))
    assert event["attributes"]["Channel"] == "web"


def test_retail_as_ndjson_keeps_the_digits(tmp_path: Path) -> None:
    row = dict(zip(HEADER.split(","), SALE.split(","), strict=True)) | {"Quantity": 6}
    text = json.dumps(row).replace('"2.55"', "2.550") + "\n[]\n\n{}\n{\n" + '{"a":"\\ud800"}'
    found = items(tmp_path, "r.txt", text, "retail")
    assert exact(found[0])["attributes"]["unit_price"].as_tuple() == Decimal("2.550").as_tuple()
    assert reasons(found) == ["not a JSON object", "missing column", "not JSON", "not JSON"]


def test_a_line_in_latin_1_is_read_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    lines = (HEADER, SALE.replace("WHITE", "CAFÉ"), SALE.replace("WHITE", "CHÂTEAU"), SALE)
    file.write_bytes("\n".join(lines[:2]).encode() + b"\n" + "\n".join(lines[2:]).encode("latin-1"))
    reading = Reading()
    found = [exact(item)["attributes"]["description"] for item in read_as(file, "retail", reading)]
    assert found == ["CAFÉ HOLDER", "CHÂTEAU HOLDER", "WHITE HOLDER"]
    assert reading.latin1 == 1


def test_an_access_log_line_is_a_view(tmp_path: Path) -> None:
    (item,) = items(tmp_path, "a.log", LOG + "\n", "access-log")
    event = exact(item)
    assert event.pop("event_id").startswith("access-")
    assert event == {
        "user_id": "83.149.9.216",
        "action": "view",
        "timestamp": "2015-05-17T10:05:03+02:00",
        "page": "/a/b.png",
        "attributes": {
            "method": "GET",
            "status": 200,
            "bytes": 203023,
            "query": "q=1&r=%20",
            "referrer": "http://semicomplete.com/",
            "user_agent": 'Mozilla/5.0 (say \\"hi\\")',
        },
    }


def test_who_logged_in_is_the_user(tmp_path: Path) -> None:
    (item,) = items(
        tmp_path, "a.log", LOG.replace("- - [", "- Ann Lee [").replace("203023", "-"), "access-log"
    )
    assert isinstance(item, Record)
    assert item.key == b"Ann Lee"
    assert exact(item)["attributes"]["address"] == "83.149.9.216"
    assert "bytes" not in exact(item)["attributes"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('hi\\")"', "hi", "not a line of Apache's combined log"),
        ("17/May", "31/Feb", "not a time of Apache's log"),
        ("17/May", "17/Mai", "not a time of Apache's log"),
        ("GET /a/b.png?q=1&r=%20 HTTP/1.1", "-", "the request names no page"),
        ("/a/b.png?", "?", "out-of-range"),
    ],
)
def test_a_line_of_another_format_is_bad(tmp_path: Path, old: str, new: str, reason: str) -> None:
    found = items(tmp_path, "a.log", f"{LOG}\n\n{LOG.replace(old, new)}\n{LOG}\n", "access-log")
    assert reasons(found) == [reason]
    assert isinstance(found[1], BadLine)
    assert (found[1].line, found[1].raw) == (3, LOG.replace(old, new).encode())


def test_ndjson_is_sent_as_it_stands(tmp_path: Path) -> None:
    line = json.dumps(EVENT, indent=None, separators=(", ", ":  ")).encode()
    found = items(
        tmp_path, "e.ndjson", b"\xef\xbb\xbf" + line + b"\r\n\r\n" + line + b'\n{"x":1}\nno', "activity"
    )
    assert found[:2] == [Record(b"u1", line, 1_767_225_600.0)] * 2
    assert [(item.line, item.raw) for item in found[2:] if isinstance(item, BadLine)] == [
        (4, b'{"x":1}'),
        (5, b"no"),
    ]
    assert reasons(found) == ["missing-field", "not-json"]


def test_csv_of_the_records_fields(tmp_path: Path) -> None:
    found = items(
        tmp_path,
        "e.csv",
        "event_id,user_id,action,timestamp,amount,quantity,country,attributes,shop\n"
        'e1,u1,purchase,1767225600000,12.500,2,,"{""a"": [1]}",north\n'
        "e2,u1,view,2026-01-01T00:00:00+01:00,,,FR,,\n"
        "e3,u1,view,2026-01-01,12.5x,,,,\n"
        "e4,,view,2026-01-01,,,,,\n"
        "e5,u1,view,2026-01-01,,,,[],\n",
        "activity",
    )
    assert exact(found[0]) == {
        "event_id": "e1",
        "user_id": "u1",
        "action": "purchase",
        "timestamp": 1_767_225_600_000,
        "amount": Decimal("12.500"),
        "quantity": 2,
        "attributes": {"a": [1], "shop": "north"},
    }
    assert [item.event_time for item in found[:2] if isinstance(item, Record)] == [
        1_767_225_600,
        1_767_222_000,
    ]
    assert reasons(found) == ["amount is not a number", "missing-field", "attributes is not a JSON object"]


def test_gzip_is_told_by_its_bytes_and_may_have_several_members(tmp_path: Path) -> None:
    content = gzip.compress(f"{HEADER}\n{SALE[:20]}".encode()) + gzip.compress(
        f"{SALE[20:]}\n{SALE}".encode()
    )
    assert len([exact(item) for item in items(tmp_path, "r.csv", content, "retail")]) == 2


def test_a_truncated_gzip_gives_its_whole_lines_and_then_the_error(tmp_path: Path) -> None:
    rows = "".join(f"{SALE.replace('536365', str(n))}\n" for n in range(100_000, 120_000))
    file = tmp_path / "r.csv.gz"
    file.write_bytes(gzip.compress(f"{HEADER}\n{rows}".encode())[:-100])
    found: list[str] = []
    with pytest.raises(SourceError, match=r"r\.csv\.gz: the gzip stream ends too early, within") as caught:
        found.extend(exact(item)["session_id"] for item in read_as(file, "retail"))
    assert found == [str(n) for n in range(100_000, 100_000 + len(found))]
    assert f"line {len(found) + 2};" in str(caught.value)
    assert len(found) > 10_000


def test_a_damaged_gzip_says_so(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(f"{HEADER}\n{SALE}\n".encode()))
    whole[-6] ^= 0xFF
    with pytest.raises(SourceError, match="damaged"):
        items(tmp_path, "r.csv.gz", bytes(whole), "retail")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "lacks InvoiceNo.*Expected a CSV header with the columns InvoiceNo,StockCode.*found ''"),
        (HEADER.replace("Quantity", "Qty"), "lacks Quantity.*found 'InvoiceNo,StockCode,Description,Qty"),
        (HEADER + ",Country", "names a column twice"),
        ('"' + "x" * 200_000, "is not CSV"),
    ],
)
def test_another_header_is_an_error_that_names_file_and_columns(
    tmp_path: Path, content: str, match: str
) -> None:
    with pytest.raises(SourceError, match=match) as caught:
        items(tmp_path, "r.csv", content, "retail")
    assert str(tmp_path / "r.csv") in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        list(read_as(tmp_path / "no.csv", "retail"))


def test_an_endless_line_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="line 1 is longer"):
        items(tmp_path, "r.csv.gz", gzip.compress(b"x" * (17 << 20)), "access-log")


def test_an_unknown_format_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "r.csv").touch()
    result = CliRunner().invoke(main, ["load", "--as", "other", str(tmp_path / "r.csv")])
    assert result.exit_code == 2
    assert "activity, retail, access-log" in result.output


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(quantity=st.integers(-(10**6), 10**6), cents=st.integers(-(10**9), 10**9), places=st.integers(0, 6))
def test_the_amount_is_the_exact_product(
    tmp_path_factory: pytest.TempPathFactory, quantity: int, cents: int, places: int
) -> None:
    price = Decimal(cents).scaleb(-places)
    row = f"1,2,3,{quantity},2010-12-01 08:26:00,{price:f},4,5"
    (item,) = retail(tmp_path_factory.mktemp("exact"), row)
    if abs(quantity * price) <= 10**9:
        event = exact(item)
        assert event["amount"] == quantity * price
        assert event["action"] == ("refund" if quantity < 0 else "purchase")
    else:
        assert isinstance(item, BadLine)


@settings(max_examples=100, deadline=None)
@given(
    content=st.one_of(st.binary(max_size=300), WORDS.map(str.encode)),
    mapping=st.sampled_from(["retail", "activity", "access-log"]),
)
def test_no_content_breaks_the_reader(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, mapping: str
) -> None:
    assume(not content.startswith(GZIP_MAGIC))  # damaged gzip is an error of its own
    header = b"" if mapping == "access-log" else HEADER.encode() + b"\n" if mapping == "retail" else b"{}\n"
    file = tmp_path_factory.mktemp("any") / "file"
    file.write_bytes(header + content)
    assert all(isinstance(item, BadLine) for item in read_as(file, mapping))
