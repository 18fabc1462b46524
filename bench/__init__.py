"""`make bench`: one Millrace worker's drain rate, beside the same job as a plain per-event Faust agent."""
