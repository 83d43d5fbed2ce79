"""A manager that does what code does, forks included, and notes who has executed which call."""

import multiprocessing
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

from launcher.serve.manager import expose, idempotent
from tests.functional.service.managers import Faulty, Working
from tests.support.growing import whole_lines

FORK = multiprocessing.get_context("fork")
CHILD_SECONDS = 600
PAUSE_SECONDS = 0.2


def double(number: int) -> int:
    """In a child."""
    return 2 * number


class Chaotic(Working, Faulty):
    """See above."""

    _left: "subprocess.Popen[bytes] | None" = None

    @expose
    @idempotent
    def fork(self, context: Any, key: str) -> str:
        """The key again, when something has been done that forks: each of it by turns."""
        self._work(key, PAUSE_SECONDS)
        kinds: list[Callable[[], object]] = [
            self._end_a_child,
            self._use_a_pool,
            self._run_a_program,
            self._leave_a_program,
        ]
        kinds[crc32(key.encode()) % len(kinds)]()
        return key

    def _end_a_child(self) -> None:
        process = FORK.Process(target=time.sleep, args=(CHILD_SECONDS,))
        process.start()
        process.terminate()
        process.join()
        assert process.exitcode == -15, process.exitcode

    def _use_a_pool(self) -> None:
        with FORK.Pool(2) as pool:
            assert pool.map(double, [1, 2, 3]) == [2, 4, 6]

    def _run_a_program(self) -> None:
        done = subprocess.run(["echo", "done"], check=True, capture_output=True, text=True)
        assert done.stdout == "done\n"

    def _leave_a_program(self) -> None:
        """Which is to end with its worker."""
        if self._left is None or self._left.poll() is not None:
            self._left = subprocess.Popen(["sleep", str(CHILD_SECONDS)])

    def _work(self, key: str, seconds: float) -> str:
        path = Path(self.context.state_path, "ledger")
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, f"{key} {os.getpid()}\n".encode())
        os.close(descriptor)
        time.sleep(seconds)  # work
        return key


def read_ledger(state_path: Path) -> dict[str, list[int]]:
    """Pids by the call that they have begun to execute, in their order."""
    found: dict[str, list[int]] = {}
    for line in whole_lines(Path(state_path, "ledger")):
        key, pid = line.split()
        found.setdefault(key, []).append(int(pid))
    return found
