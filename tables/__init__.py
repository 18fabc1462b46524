"""The state log, and the types of tables that live in it."""
