"""`make bench`: how fast one Millstream worker drains a topic, beside others that do the same job."""
