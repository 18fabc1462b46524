"""The agents, one per file: each applies its rules to a source topic, and writes to tables and topics."""
