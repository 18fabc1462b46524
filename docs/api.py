"""Writes the pages of the public API from its docstrings: `python docs/api.py FOLDER`."""

import sys
import warnings
from pathlib import Path

import pdoc

import millstream

# What a service imports; the rest of the framework may change with any version.
MODULES = (
    "millstream",
    "millstream.declarations",
    "millstream.tables.aggregates",
    "millstream.tables.dedup",
    "millstream.tables.joins",
    "millstream.tables.origin_dedup",
    "millstream.tables.reference",
    "millstream.tables.sessions",
    "millstream.tables.sketches",
    "millstream.tables.sliding",
    "millstream.tables.totals",
    "millstream.tables.values",
    "millstream.tables.windows",
    "millstream.testing.driver",
    "millstream.web.panels",
    "millstream.sources.formats",
    "millstream.sources.generator",
)

if __name__ == "__main__":
    # What pdoc cannot find or read is an error.
    warnings.filterwarnings("error", module="pdoc")
    for name in millstream.__all__:
        getattr(millstream, name)  # they are imported on first use, and pdoc looks without using
    pdoc.render.configure(docformat="google")
    # The façade without what is below it.
    pdoc.pdoc(MODULES[0], r"!millstream\.", *MODULES[1:], output_directory=Path(sys.argv[1]))
