"""Tumbling windows with Millstream: `faust -A bench.windows.tumbling worker`."""

from bench.windows.job import FIGURES, app, run
from bench.windows.lengths import GRACE, KEEP, SIZE
from millstream.tables.windows import WindowTable

run(WindowTable("figures", size=SIZE, value=FIGURES, grace=GRACE, keep=KEEP))

__all__ = ["app"]
