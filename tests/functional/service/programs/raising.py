"""A program whose module cannot be imported."""

TABLE: dict[str, str] = {}
SERVICES = TABLE["services"]


def main() -> None:
    """The console script."""
