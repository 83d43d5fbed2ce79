"""On $PYTHONPATH of a program that is measured: a signal has a process make a full collection, and
then a file."""

import gc
import os
import signal
from pathlib import Path


def _collect(*_: object) -> None:
    gc.collect()
    Path(os.environ["COLLECTED"], str(os.getpid())).touch()


signal.signal(signal.SIGRTMIN + 1, _collect)
