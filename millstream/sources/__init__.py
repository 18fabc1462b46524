"""Sources of events: files and generators; and bulk sending to Kafka."""
