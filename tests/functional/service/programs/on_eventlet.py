"""A program that runs on eventlet."""

import eventlet

eventlet.monkey_patch()


def main() -> None:
    """The console script."""
