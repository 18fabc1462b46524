"""`python -m app …` is the same as `millrace …`."""

from app.commands import main

main(prog_name="millrace")
