"""A machine that has something else to do."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.traces import DIE_WITH_US


@contextmanager
def busy(loops_per_core: int = 1, nice: int = 19) -> Iterator[None]:
    """Keep every core that we may use busy, by default at the lowest priority, while the block
    runs."""
    cores = sorted(os.sched_getaffinity(0)) * loops_per_core
    loop = [sys.executable, "-S", "-c", "while True: pass"]
    commands = (
        ["nice", f"-n{nice}", "taskset", "-c", str(core), *DIE_WITH_US, *loop] for core in cores
    )
    loops = [subprocess.Popen(command) for command in commands]
    try:
        yield
    finally:
        for one in loops:
            one.kill()
        for one in loops:
            one.wait()
