"""Lines of a retailer's invoices as purchases and refunds (the columns of UCI's "Online Retail")."""

from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b

import orjson

from millstream.sources.numbers import number, plain, product, whole
from millstream.sources.rows import Row, Unmapped

COLUMNS = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)
# The format of spreadsheets in the United States, and of UCI's own file.
SPREADSHEET = "%m/%d/%Y %H:%M"


def value(row: Row) -> bytes:
    """Map a row to an event's JSON.

    The amount is quantity times unit price, exact; the price may be zero or negative. The id is a hash of all
    cells, so equal rows are the same event.

    Raises:
        Unmapped: a cell is invalid, or a required cell is empty.
    """
    invoice, stock, country = row["InvoiceNo"], row["StockCode"], row["Country"]
    if not invoice or invoice.isspace():
        raise Unmapped("InvoiceNo is empty")
    if not stock or stock.isspace():
        raise Unmapped("StockCode is empty")
    quantity, price, amount = _sum(row["Quantity"], row["UnitPrice"])
    attributes: dict[str, object] = {
        "stock_code": stock,
        "description": row["Description"],
        "unit_price": orjson.Fragment(price),
    }
    if len(row) > len(COLUMNS):
        attributes |= {name: text for name, text in row.items() if name not in COLUMNS}
    event = {
        "event_id": f"retail-{fingerprint(row)}",
        "user_id": row["CustomerID"].strip() or f"guest-{invoice}",
        "action": "refund" if quantity < 0 else "purchase",
        "timestamp": _timestamp(row["InvoiceDate"]),
        "page": f"/products/{stock}",
        "amount": orjson.Fragment(amount),
        "quantity": quantity,
        "currency": "GBP",
        "session_id": invoice,
        "attributes": attributes,
    }
    if country and not country.isspace():
        event["country"] = country
    return orjson.dumps(event)


def fingerprint(row: Row) -> str:
    """Return 32 hex digits: a hash of all cells with their columns' names, in any order."""
    return blake2b(orjson.dumps(row, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


# Few pairs, days and prices make up most of a file; a cache hit takes a tenth of the time.
@lru_cache(maxsize=1 << 14)
def _sum(quantity: str, price: str) -> tuple[int, str, str]:
    """Return quantity, unit price and amount, the latter two as JSON numbers."""
    pieces, each = whole("Quantity", quantity), number("UnitPrice", price)
    return pieces, plain(each), plain(product(pieces, each))


@lru_cache(maxsize=1 << 12)
def _timestamp(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            moment = datetime.strptime(text.strip(), SPREADSHEET).replace(tzinfo=UTC)
        except ValueError:
            raise Unmapped(f"InvoiceDate is not a time: {text[:40]!r}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
