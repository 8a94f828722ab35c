"""``python -m edgecv.cli``: the command line where its script is not on the path."""

from edgecv.cli import main

main()
