"""What the jobs share: lengths of event time."""

from datetime import timedelta

SIZE = timedelta(minutes=1)
STEP = timedelta(seconds=1)
GAP = timedelta(seconds=4)
GRACE = timedelta(seconds=2)
KEEP = timedelta(days=1)
