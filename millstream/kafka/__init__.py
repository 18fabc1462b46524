"""Clients of Kafka: fetching, producing, topics, the group; and a local Kafka."""
