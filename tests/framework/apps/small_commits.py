"""The visits with commits that hold little: large batches must be cut."""

from tests.framework.apps.visits import app

app.conf.producer_max_batch_size = 30_000

__all__ = ["app"]
