"""The Records, one family per file, with the rules that need only a Record."""
