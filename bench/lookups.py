"""The static maps, for peers that do not read ours: a line for each entry, a tab between key and value."""

import csv
from collections.abc import Mapping
from pathlib import Path

from bench.yahoo.campaigns import CAMPAIGN_OF
from models.countries import TABLE


def write_lookups(folder: Path) -> dict[str, str]:
    """Write the maps, and return the variables that tell where they are."""
    return {
        "BENCH_REGIONS": _write(folder / "regions.tsv", _regions()),
        "BENCH_CAMPAIGNS": _write(folder / "campaigns.tsv", CAMPAIGN_OF),
    }


def _regions() -> dict[str, str]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {
            word.casefold(): row["region"]
            for row in csv.DictReader(file)
            for word in (row["name"], row["alpha2"], row["alpha3"], *row["aliases"].split("|"))
            if word
        }


def _write(path: Path, entries: Mapping[str, str]) -> str:
    path.write_text("".join(f"{key}\t{value}\n" for key, value in entries.items()), encoding="utf-8")
    return str(path)
