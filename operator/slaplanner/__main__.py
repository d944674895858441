"""`python -m slaplanner`: the command line, where its script is not on PATH."""

from slaplanner.cli import main

main(prog_name="slaplanner")
