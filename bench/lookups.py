"""The static maps, for peers that do not read ours: a line for each entry, a tab between key and value."""

from collections.abc import Mapping
from pathlib import Path

from bench.yahoo.campaigns import CAMPAIGN_OF
from models.countries import regions


def write_lookups(folder: Path) -> dict[str, str]:
    """Write the maps, and return the variables that tell where they are."""
    return {
        "BENCH_REGIONS": _write(folder / "regions.tsv", regions()),
        "BENCH_CAMPAIGNS": _write(folder / "campaigns.tsv", CAMPAIGN_OF),
    }


def _write(path: Path, entries: Mapping[str, str]) -> str:
    path.write_text("".join(f"{key}\t{value}\n" for key, value in entries.items()), encoding="utf-8")
    return str(path)
