import csv

import pytest

from models.countries import TABLE, region

REGIONS = {"Africa", "Americas", "Asia", "Europe", "Oceania"}
ROWS = list(csv.DictReader(TABLE.read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize(
    ("country", "expected"),
    [
        ("United Kingdom", "Europe"),
        ("EIRE", "Europe"),
        ("Channel Islands", "Europe"),
        ("European Community", "Europe"),
        ("Czech Republic", "Europe"),
        ("Cyprus", "Asia"),
        ("Hong Kong", "Asia"),
        ("United Arab Emirates", "Asia"),
        ("Korea", "Asia"),
        ("Saudi Arabia", "Asia"),
        ("RSA", "Africa"),
        ("Nigeria", "Africa"),
        ("USA", "Americas"),
        ("West Indies", "Americas"),
        ("Bermuda", "Americas"),
        ("Australia", "Oceania"),
        ("Côte d'Ivoire", "Africa"),
        ("Unspecified", None),
        ("", None),
        (None, None),
    ],
)
def test_a_country_has_its_region(country: str | None, expected: str | None) -> None:
    assert region(country) == expected


@pytest.mark.parametrize("text", ["de", "DE", "DEU", "deu", "Germany", "GERMANY", "  Germany\t"])
def test_names_and_codes_are_read_in_any_case_with_blanks(text: str) -> None:
    assert region(text) == "Europe"


def test_the_table_has_every_word_once() -> None:
    words = [
        word.casefold()
        for row in ROWS
        for word in (row["name"], row["alpha2"], row["alpha3"], *row["aliases"].split("|"))
        if word
    ]
    assert len(words) == len(set(words))


def test_the_table_is_complete() -> None:
    # 249 codes of ISO 3166 without Antarctica, which M49 puts in no region.
    assigned = [row for row in ROWS if row["alpha2"] not in {"", "EU", "XK", "AN"}]
    assert len(assigned) == 248
    assert all(len(row["alpha2"]) == 2 and len(row["alpha3"]) == 3 for row in assigned)
    assert {row["region"] for row in ROWS} == REGIONS


def test_what_users_send_does_not_pile_up() -> None:
    for number in range(10_000):
        region(f"nowhere {number}")
    assert region.cache_info().currsize <= 4096
