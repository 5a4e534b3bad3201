"""`python -m starter.cli`: the command where the console script is not installed."""

from starter.cli.main import main

main()
