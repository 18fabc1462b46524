"""`python -m millstream …` is the same as `millstream …`."""

from millstream.cli import main

main(prog_name="millstream")
