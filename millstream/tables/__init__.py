"""The table types: keyed state that is stored in the state log."""
