"""A program whose module ends the process when it is imported."""

import sys

sys.exit(5)


def main() -> None:
    """The console script."""
