"""`python -m app …` is the same as `millstream …`."""

from app.commands import main

main(prog_name="millstream")
