"""`python -m app.document_metrics` writes docs/metrics.md."""

from app import app
from millstream.observability.metrics import document

print(document(app.metrics), end="")
