"""`python -m seesay` is the `seesay` command."""

from seesay.cli.main import main

main()
