"""A pseudo terminal with a person at it: starts programs, reads the screen, presses keys."""

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.support.waiting import wait_until

CTRL_C = "\x03"
ROWS, COLUMNS = 50, 200
CHUNK_BYTES = 65536


class Terminal:
    """Open while the `with` block runs; a thread of its own reads, so that no program blocks."""

    def __enter__(self) -> Self:
        self._ours, self.theirs = os.openpty()
        size = struct.pack("4H", ROWS, COLUMNS, 0, 0)
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, size)
        self.name = os.ttyname(self.theirs)
        self.file = os.fstat(self.theirs)
        self._screen = b""
        self._hang_up = os.eventfd(0)
        self._reader = threading.Thread(target=self._read, name=self.name, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up. Programs that still run get a SIGHUP, and errors when they write."""
        os.eventfd_write(self._hang_up, 1)
        self._reader.join()
        for descriptor in (self._hang_up, self.theirs, self._ours):
            os.close(descriptor)

    def start(
        self, command: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program as a login does: it leads a session, this is its terminal, and no signal
        is ignored, as SIGINT is in what a script has started with &."""
        return subprocess.Popen(
            ["env", "--default-signal", "setsid", "--ctty", *command],
            env=dict(env),
            cwd=cwd,
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
        )

    def press(self, keys: str) -> None:
        """Type; the terminal turns control characters into signals to the foreground group."""
        os.write(self._ours, keys.encode())

    @property
    def screen(self) -> str:
        """All that was ever shown, with \\n for the terminal's \\r\\n."""
        return self._screen.decode(errors="replace").replace("\r\n", "\n")

    def wait_for(self, pattern: str, deadline: float) -> re.Match[str]:
        """Wait until the screen shows a line with `pattern`, `deadline` seconds at most."""
        line = re.compile(pattern, re.MULTILINE)
        shown = wait_until(lambda: line.search(self.screen), deadline, f"{pattern!r} is shown")
        assert shown is not None
        return shown

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._ours, select.POLLIN)
        poll.register(self._hang_up, select.POLLIN)
        while self._hang_up not in (ready := dict(poll.poll())):
            if ready:
                self._screen += os.read(self._ours, CHUNK_BYTES)
