"""The agents: one a file, each from its source topic through rules to tables and topics."""
