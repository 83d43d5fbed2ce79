"""What README's quick start says, typed in a checkout: `make run`, a ping, a call, Ctrl-C.

Run inside a bare root, by its Python and nothing else.
"""

import os
import pty
import select
import subprocess
import sys
import time

READY = b"ready: 4/4 workers serving"
COMMANDS = (["ping"], ["call", "get_host_uptime"], ["status"])
COMMAND_SECONDS = 60
STOP_SECONDS = 60
INSTALL_SECONDS = 800


def main() -> int:
    """0: all went as README says."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("make", ["make", "run"])
    read_until(terminal, READY, INSTALL_SECONDS)
    for words in COMMANDS:
        command = [".venv/bin/compute-launcher", *words]
        subprocess.run(command, timeout=COMMAND_SECONDS, check=True)
    os.write(terminal, b"\x03")
    rest = read_until(terminal, b"", STOP_SECONDS)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return int(b"Traceback" in rest or ended != 0)


def read_until(terminal: int, word: bytes, seconds: float) -> bytes:
    """Pass on what is written there, up to a word; without a word, up to its end."""
    text, end = b"", time.monotonic() + seconds
    while not word or word not in text:
        if not select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
            raise TimeoutError(f"after {seconds:g} s no {word or 'end'!r}")
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux's word for it: nobody has the terminal any more
            piece = b""
        if not piece:
            break
        sys.stdout.buffer.write(piece)
        sys.stdout.flush()
        text += piece
    if word not in text:
        raise EOFError(f"it ended without {word!r}")
    return text


if __name__ == "__main__":
    sys.exit(main())
