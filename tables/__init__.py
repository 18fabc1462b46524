"""The tables of this service; each file has the tables of one agent."""
