"""A program whose module cannot be imported."""

TABLE = {}["services"]


def main() -> None:
    """The console script."""
