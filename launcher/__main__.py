"""Entry point of every `*-launcher` script and of `python -m launcher`."""

import gc
import os
import sys
from typing import NoReturn

from launcher import blocked_signals

# Commands that probes give. `quick` has them; a start is spared its import.
ON_THE_SHORT_WAY = {"health", "status", "reload", "scale", "restart-worker"}


def main() -> NoReturn:
    """Run the command line, and end with its exit status."""
    blocked_signals.block()  # a signal that arrives during the imports is handled later
    status = _take_the_short_way() if ON_THE_SHORT_WAY & set(sys.argv) else None
    _end(_take_the_long_way() if status is None else status)


def _take_the_short_way() -> int | None:
    from launcher.cli import quick  # noqa: PLC0415  # imports more than this module does

    return quick.run(sys.argv)


def _take_the_long_way() -> int:
    gc.disable()  # imports make almost no garbage; a command or worker enables it again
    from launcher.cli.main import main as cli_main  # noqa: PLC0415  # a probe needs none of these
    from launcher.writing import standard_descriptors  # noqa: PLC0415

    standard_descriptors.fill()
    if any(word.startswith("--p") for word in sys.argv):
        from launcher.cli import program  # noqa: PLC0415

        if program.runs_program(sys.argv):
            return program.main(sys.argv)
    return cli_main(sys.argv)


def _end(status: int) -> NoReturn:
    """End at once. To tear down hundreds of modules would take Python longer than most commands,
    and a third of a stop. Threads that still run would find modules half torn down."""
    if logging := sys.modules.get("logging"):
        logging.shutdown()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(status)  # Python reports the failed write; nothing for a closed stream
    os._exit(status)


if __name__ == "__main__":
    main()
