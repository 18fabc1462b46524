"""The state of a partition: its log in Kafka, its rows in RocksDB, restore, standbys, snapshots."""
