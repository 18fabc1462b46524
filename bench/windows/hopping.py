"""Hopping windows with Millstream: `faust -A bench.windows.hopping worker`."""

from bench.windows.job import FIGURES, app, run
from bench.windows.lengths import GRACE, KEEP, SIZE, STEP
from millstream.tables.windows import WindowTable

run(WindowTable("figures", size=SIZE, step=STEP, value=FIGURES, grace=GRACE, keep=KEEP))

__all__ = ["app"]
