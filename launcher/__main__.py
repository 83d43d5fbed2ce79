"""Entry point of every `*-launcher` script and of `python -m launcher`."""

import gc
import logging
import os
import sys
from typing import NoReturn

from launcher import native_threads
from launcher.supervise import signals


def main() -> NoReturn:
    """Run the command line, and end with its exit status."""
    signals.block()  # a stop that comes while we import is to be a stop like any other
    gc.disable()  # next to nothing of what is imported is garbage; until a command or worker runs
    native_threads.require()
    from launcher.cli.main import main as cli_main  # noqa: PLC0415  # imports oslo.messaging

    _end(cli_main(sys.argv))


def _end(status: int) -> NoReturn:
    """At once. Python would take hundreds of modules apart, which lasts longer than most commands,
    and as long as a third of a stop; threads that still run would come upon what is left."""
    logging.shutdown()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(status)  # Python says what could not be written, and of closed ones nothing
    os._exit(status)


if __name__ == "__main__":
    main()
