"""`python -m davsp` is the `davsp` command."""

from davsp.cli import main

main()
