"""Sessions with Millstream: `faust -A bench.windows.sessions worker`."""

from bench.windows.job import FIGURES, app, run
from bench.windows.lengths import GAP, GRACE, KEEP
from millstream.tables.sessions import SessionTable

run(SessionTable("figures", gap=GAP, value=FIGURES, grace=GRACE, keep=KEEP))

__all__ = ["app"]
