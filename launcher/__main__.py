"""Entry point of every `*-launcher` script and of `python -m launcher`."""

import sys

from launcher import native_threads


def main() -> int:
    """Run the command line; returns the exit status."""
    native_threads.require()
    from launcher.cli.main import main as cli_main  # noqa: PLC0415  # imports oslo.messaging

    return cli_main(sys.argv)


if __name__ == "__main__":
    sys.exit(main())
