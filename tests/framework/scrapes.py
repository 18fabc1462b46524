"""What a worker answers to Prometheus, as a dictionary."""

from prometheus_client.parser import text_string_to_metric_families

LABELS = ("topic", "partition", "table", "code", "le")
Samples = dict[tuple[str, ...], float]


def samples(text: str) -> Samples:
    """Return all samples by name and labels' values."""
    return {
        (sample.name, *(sample.labels[name] for name in LABELS if name in sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
