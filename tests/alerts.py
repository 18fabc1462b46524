"""What metrics show when all is well, and what is different when an alert fires: a value for each minute.

The notation is promtool's: `0+5x600` begins with 0 and grows by 5, 600 times; `_x600` is nothing.
"""

from pathlib import Path

RULES = Path(__file__).resolve().parents[1] / "deploy" / "prometheus" / "alerts.yml"

UP = {'up{job="millrace",instance="a"}': "1x600"}
EVENTS = {'millrace_events_total{topic="t"}': "0+600x600"}
STALE = "_x600"


def buckets(name: str, label: str, slow: bool) -> dict[str, str]:
    """Return a histogram's series of which all values are under 10 ms, or over 10 s."""
    low = "0x600" if slow else "0+60x600"
    inner = f'{name}_bucket{{{label}="a",le='
    return {f'{inner}"0.01"}}': low, f'{inner}"30.0"}}': "0+60x600", f'{inner}"+Inf"}}': "0+60x600"}


QUIET = {
    **UP,
    **EVENTS,
    **buckets("millrace_event_latency_seconds", "topic", slow=False),
    **buckets("millrace_commit_duration_seconds", "topic", slow=False),
    **buckets("millrace_event_loop_lag_seconds", "instance", slow=False),
    'millrace_commit_duration_seconds_count{topic="t"}': "0+60x600",
    'millrace_ready{instance="a"}': "1x600",
    'millrace_lag_events{topic="t",partition="0"}': "200x600",
    'millrace_commit_waiting_seconds{instance="a",topic="t"}': "0.1x600",
    'millrace_dead_letters_total{topic="t",code="not-json"}': "0+1x600",
    'millrace_late_events_total{topic="t",table="w"}': "0+1x600",
    'millrace_watermark_delay_seconds{topic="t",partition="0"}': "3x600",
    'millrace_batch_retries_total{topic="t"}': "0x600",
    'millrace_waiting_events{topic="t",partition="0"}': "0x600",
    'millrace_restoring_partitions{instance="a",topic="t"}': "0x600",
    'millrace_rebalances_total{instance="a"}': "2x600",
    'millrace_standby_lag_records{instance="a",topic="t",partition="1"}': "10x600",
    'millrace_disk_free_bytes{instance="a"}': "500000x600",
    'millrace_disk_size_bytes{instance="a"}': "1000000x600",
}
# What is different when an alert fires, one value a minute, and when it does so.
FIRES: dict[str, tuple[dict[str, str], str]] = {
    "MillraceWorkerDown": ({'up{job="millrace",instance="b"}': "0x600"}, "2m"),
    "MillraceNoWorkers": ({'up{job="millrace",instance="a"}': STALE}, "2m"),
    "MillraceNotReady": ({'millrace_ready{instance="a"}': "0x600"}, "11m"),
    "MillraceNoProgress": ({'millrace_commit_duration_seconds_count{topic="t"}': "60x600"}, "11m"),
    "MillraceLagGrowing": ({'millrace_lag_events{topic="t",partition="0"}': "20000+100x600"}, "25m"),
    "MillraceLatencyHigh": (buckets("millrace_event_latency_seconds", "topic", slow=True), "20m"),
    "MillraceCommitsSlow": (buckets("millrace_commit_duration_seconds", "topic", slow=True), "20m"),
    "MillraceUnconfirmed": ({'millrace_commit_waiting_seconds{instance="a",topic="t"}': "0+20x600"}, "5m"),
    "MillraceDeadLetters": ({'millrace_dead_letters_total{topic="t",code="not-json"}': "0+12x600"}, "20m"),
    "MillraceLateEvents": ({'millrace_late_events_total{topic="t",table="w"}': "0+60x600"}, "25m"),
    "MillraceWatermarkStandsStill": (
        {'millrace_watermark_delay_seconds{topic="t",partition="0"}': "0+60x600"},
        "30m",
    ),
    "MillraceBatchesFail": ({'millrace_batch_retries_total{topic="t"}': "0+2x600"}, "15m"),
    "MillraceEventsWait": ({'millrace_waiting_events{topic="t",partition="0"}': "5x600"}, "90m"),
    "MillraceRestoreLong": ({'millrace_restoring_partitions{instance="a",topic="t"}': "1x600"}, "16m"),
    "MillraceRebalancesFlap": ({'millrace_rebalances_total{instance="a"}': "0+1x600"}, "20m"),
    "MillraceStandbyBehind": (
        {'millrace_standby_lag_records{instance="a",topic="t",partition="1"}': "200000x600"},
        "16m",
    ),
    "MillraceEventLoopLag": (buckets("millrace_event_loop_lag_seconds", "instance", slow=True), "20m"),
    "MillraceDiskLow": ({'millrace_disk_free_bytes{instance="a"}': "90000x600"}, "6m"),
    "MillraceDiskFills": ({'millrace_disk_free_bytes{instance="a"}': "900000-600x600"}, "3h"),
}
