"""Entry point of every `*-launcher` script and of `python -m launcher`."""

import gc
import logging
import os
import sys
from typing import NoReturn

from launcher import blocked_signals, native_threads


def main() -> NoReturn:
    """Run the command line, and end with its exit status."""
    blocked_signals.block()  # a signal that arrives during the imports is handled later
    from launcher.cli import program  # noqa: PLC0415  # imports argparse and more
    from launcher.writing import outlet  # noqa: PLC0415  # likewise

    outlet.fill_standard_descriptors()
    gc.disable()  # imports make almost no garbage; a command or worker enables it again
    if program.runs_program(sys.argv):
        _end(program.main(sys.argv))
    native_threads.forbid_eventlet()
    from launcher.cli.main import main as cli_main  # noqa: PLC0415  # imports oslo.config

    _end(cli_main(sys.argv))


def _end(status: int) -> NoReturn:
    """End at once. To tear down hundreds of modules would take Python longer than most commands,
    and a third of a stop. Threads that still run would find modules half torn down."""
    logging.shutdown()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(status)  # Python reports the failed write; nothing for a closed stream
    os._exit(status)


if __name__ == "__main__":
    main()
