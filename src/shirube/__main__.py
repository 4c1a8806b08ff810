"""`python -m shirube`: the command line."""

from shirube.cli.main import main

main()
