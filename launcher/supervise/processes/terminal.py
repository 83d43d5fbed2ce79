"""The terminal in which the master was started, if any."""

import os
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

CONTROLLING_TERMINAL = "/dev/tty"


@contextmanager
def own_process_group(
    *, later: bool = False, keeps: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Run the master as leader of its own process group, in the terminal's foreground.

    cotyledon calls setsid(), which would detach the master from the terminal: Ctrl-C would not
    reach it. For the leader of a group setsid() fails, harmlessly. SIGTTOU must be blocked, as
    `blocked_signals.block` does: a background process that sets the foreground group gets it.

    :param keeps: whether another process has the foreground at the end.
    :param later: in the terminal's foreground only from `come_to_foreground` on.
    """
    before = os.getpgrp()
    in_foreground = foreground_group() == before
    with suppress(PermissionError):  # a session leader leads its group already
        os.setpgid(0, 0)
    if not in_foreground:
        yield
        return
    if not later:
        _bring_to_foreground(os.getpgrp())
    # Ctrl-Z would stop only the master: make and sh, which could resume it, are in another group.
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    try:
        yield
    finally:
        if not keeps():
            _bring_to_foreground(before)


def come_to_foreground(former: int) -> None:
    """If the group of process `former` is in the terminal's foreground, put ours there."""
    with suppress(ProcessLookupError):
        if foreground_group() == os.getpgid(former):
            _bring_to_foreground(os.getpgrp())


def hint(binary: str, script: str, args: Sequence[str], program: str = "") -> str:
    """Return a hint for a user at a terminal: how to ask and how to stop the service.

    :param script: argv[0], the program as it was started.
    :param args: arguments of the command line that name the configuration.
    :param program: what --program names.
    """
    known = Path(script).name != binary or shutil.which(binary) == script
    command = binary if known and not program else script
    named = ["--program", program] if program else []
    ask = shlex.join([command, *named, *args, "status"])
    return f"ask it: {ask}; stop it: Ctrl-C, twice to stop at once"


def foreground_group() -> int | None:
    """Of the terminal that Ctrl-C is typed at, wherever stdin leads; None without one."""
    try:
        with _terminal() as descriptor:
            return os.tcgetpgrp(descriptor)
    except OSError:  # no terminal
        return None


def _bring_to_foreground(group: int) -> None:
    with suppress(OSError), _terminal() as descriptor:  # the terminal or the group is gone
        os.tcsetpgrp(descriptor, group)


@contextmanager
def _terminal() -> Iterator[int]:
    descriptor = os.open(CONTROLLING_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
