"""Standard input, output and error that were closed when the process began."""

import os
import sys


def fill() -> None:
    """Called first. Open /dev/null in place of a closed stdin, stdout or stderr. Else the next
    file would get that descriptor, and log lines would go into that file."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
