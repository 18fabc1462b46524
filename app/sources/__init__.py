"""Where events come from: made up, or read from files; and the way into Kafka."""
