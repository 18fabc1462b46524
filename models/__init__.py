"""The Records, one family a file, with the rules that need nothing but a Record."""
