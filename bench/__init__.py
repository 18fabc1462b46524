"""`make bench`: how fast one Millrace worker drains a topic, beside others that do the same job."""
