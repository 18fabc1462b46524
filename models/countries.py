"""The region of the world of a country."""

import csv
from functools import cache, lru_cache
from pathlib import Path

TABLE = Path(__file__).with_name("countries.csv")


@cache
def regions() -> dict[str, str]:
    """Return the region of each name, alias and code, in lower case."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {
            word.casefold(): row["region"]
            for row in csv.DictReader(file)
            for word in (row["name"], row["alpha2"], row["alpha3"], *row["aliases"].split("|"))
            if word
        }


# Bounded, because the argument comes from users.
@lru_cache(maxsize=4096)
def region(country: str | None) -> str | None:
    """Return the region of the UN's M49 standard: Africa, Americas, Asia, Europe or Oceania.

    Args:
        country: English name, usual alias or ISO-3166 code, in any case; surrounding blanks are ignored.

    Returns:
        The region; None if the country is unknown.
    """
    return None if country is None else regions().get(country.strip().casefold())
