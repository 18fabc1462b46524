"""The service without Kafka and without a disk, for tests of agents."""
