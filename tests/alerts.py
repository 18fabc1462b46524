"""What metrics show when all is well, and what is different when an alert fires: a value for each minute.

The notation is promtool's: `0+5x600` begins with 0 and grows by 5, 600 times; `_x600` is nothing.
"""

from pathlib import Path

RULES = Path(__file__).resolve().parents[1] / "deploy" / "prometheus" / "alerts.yml"

UP = {'up{job="millstream",instance="a"}': "1x600"}
EVENTS = {'millstream_events_total{topic="t"}': "0+600x600"}
STALE = "_x600"


def buckets(name: str, label: str, slow: bool) -> dict[str, str]:
    """Return a histogram's series of which all values are under 10 ms, or over 10 s."""
    low = "0x600" if slow else "0+60x600"
    inner = f'{name}_bucket{{{label}="a",le='
    return {f'{inner}"0.01"}}': low, f'{inner}"30.0"}}': "0+60x600", f'{inner}"+Inf"}}': "0+60x600"}


QUIET = {
    **UP,
    **EVENTS,
    **buckets("millstream_event_latency_seconds", "topic", slow=False),
    **buckets("millstream_commit_duration_seconds", "topic", slow=False),
    **buckets("millstream_event_loop_lag_seconds", "instance", slow=False),
    'millstream_commit_duration_seconds_count{topic="t"}': "0+60x600",
    'millstream_ready{instance="a"}': "1x600",
    'millstream_lag_events{topic="t",partition="0"}': "200x600",
    'millstream_commit_waiting_seconds{instance="a",topic="t"}': "0.1x600",
    'millstream_dead_letters_total{topic="t",code="not-json"}': "0+1x600",
    'millstream_late_events_total{topic="t",table="w"}': "0+1x600",
    'millstream_watermark_delay_seconds{topic="t",partition="0"}': "3x600",
    'millstream_batch_retries_total{topic="t"}': "0x600",
    'millstream_waiting_events{topic="t",partition="0"}': "0x600",
    'millstream_restoring_partitions{instance="a",topic="t"}': "0x600",
    'millstream_rebalances_total{instance="a"}': "2x600",
    'millstream_standby_lag_records{instance="a",topic="t",partition="1"}': "10x600",
    'millstream_disk_free_bytes{instance="a"}': "500000x600",
    'millstream_disk_size_bytes{instance="a"}': "1000000x600",
}
# What is different when an alert fires, one value a minute, and when it does so.
FIRES: dict[str, tuple[dict[str, str], str]] = {
    "MillstreamWorkerDown": ({'up{job="millstream",instance="b"}': "0x600"}, "2m"),
    "MillstreamNoWorkers": ({'up{job="millstream",instance="a"}': STALE}, "2m"),
    "MillstreamNotReady": ({'millstream_ready{instance="a"}': "0x600"}, "11m"),
    "MillstreamNoProgress": ({'millstream_commit_duration_seconds_count{topic="t"}': "60x600"}, "11m"),
    "MillstreamLagGrowing": ({'millstream_lag_events{topic="t",partition="0"}': "20000+100x600"}, "25m"),
    "MillstreamLatencyHigh": (buckets("millstream_event_latency_seconds", "topic", slow=True), "20m"),
    "MillstreamCommitsSlow": (buckets("millstream_commit_duration_seconds", "topic", slow=True), "20m"),
    "MillstreamUnconfirmed": (
        {'millstream_commit_waiting_seconds{instance="a",topic="t"}': "0+20x600"},
        "5m",
    ),
    "MillstreamDeadLetters": (
        {'millstream_dead_letters_total{topic="t",code="not-json"}': "0+12x600"},
        "20m",
    ),
    "MillstreamLateEvents": ({'millstream_late_events_total{topic="t",table="w"}': "0+60x600"}, "25m"),
    "MillstreamWatermarkStandsStill": (
        {'millstream_watermark_delay_seconds{topic="t",partition="0"}': "0+60x600"},
        "30m",
    ),
    "MillstreamBatchesFail": ({'millstream_batch_retries_total{topic="t"}': "0+2x600"}, "15m"),
    "MillstreamEventsWait": ({'millstream_waiting_events{topic="t",partition="0"}': "5x600"}, "90m"),
    "MillstreamRestoreLong": ({'millstream_restoring_partitions{instance="a",topic="t"}': "1x600"}, "16m"),
    "MillstreamRebalancesFlap": ({'millstream_rebalances_total{instance="a"}': "0+1x600"}, "20m"),
    "MillstreamStandbyBehind": (
        {'millstream_standby_lag_records{instance="a",topic="t",partition="1"}': "200000x600"},
        "16m",
    ),
    "MillstreamEventLoopLag": (buckets("millstream_event_loop_lag_seconds", "instance", slow=True), "20m"),
    "MillstreamDiskLow": ({'millstream_disk_free_bytes{instance="a"}': "90000x600"}, "6m"),
    "MillstreamDiskFills": ({'millstream_disk_free_bytes{instance="a"}': "900000-600x600"}, "3h"),
}
