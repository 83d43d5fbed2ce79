"""Entry point of every `*-launcher` script and of `python -m launcher`."""

import sys

from launcher import native_threads
from launcher.supervise import signals


def main() -> int:
    """Run the command line; returns the exit status."""
    signals.block()  # a stop that comes while we import is to be a stop like any other
    native_threads.require()
    from launcher.cli.main import main as cli_main  # noqa: PLC0415  # imports oslo.messaging

    return cli_main(sys.argv)


if __name__ == "__main__":
    sys.exit(main())
