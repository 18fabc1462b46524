"""The service with commits that hold little: large batches must be cut."""

from app.main import app

app.conf.producer_max_batch_size = 30_000

__all__ = ["app"]
