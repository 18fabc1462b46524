"""Windows that close: a workload for each kind of window, all on the same events.

Events are JSON with key, value and timestamp (milliseconds), somewhat out of order, none too late. A job
keeps number, sum, least and largest of the values of each key and window, and sends them once, when the
window closes: when its partition's event time has passed its end by `lengths.GRACE`. What is still open at
the end is not sent. There are no repeats to leave out.
"""
