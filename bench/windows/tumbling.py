"""Tumbling windows with Millstream: `faust -A bench.windows.tumbling worker`."""

from bench.windows.job import FIGURES, app, run, views
from bench.windows.lengths import GRACE, KEEP, SIZE
from tables.windows import WindowTable

run(WindowTable("figures", size=SIZE, value=FIGURES, grace=GRACE, keep=KEEP))

__all__ = ["app", "views"]
