"""Has the service upgraded, and kills a master at a moment of it; copied into the container.

    python3 killer.py GROUP old|new PROCESSES SECONDS

GROUP is the directory of the unit's control group. The moment is SECONDS after so many new
processes are in it: the first one is the new master, the others are its workers. From outside, by
the journal, the moments that matter would be over: they are milliseconds.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

LOOK_SECONDS = 0.001


def main(group: str, victim: str, processes: str, seconds: str) -> None:
    """Return when the command that upgrades has ended."""
    listing = Path(group, "cgroup.procs")

    def pids() -> set[int]:
        return {int(pid) for pid in listing.read_text().split()}

    before = pids()
    with subprocess.Popen(["compute-launcher", "upgrade"]) as upgrade:
        while len(pids() - before) < int(processes) and upgrade.poll() is None:
            threading.Event().wait(LOOK_SECONDS)
        threading.Event().wait(float(seconds))
        with suppress(ValueError, ProcessLookupError, FileNotFoundError):  # all over already
            os.kill(min(before if victim == "old" else pids() - before), signal.SIGKILL)


main(*sys.argv[1:])
