"""The terminal that the master was started from, if any."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CONTROLLING_TERMINAL = "/dev/tty"


@contextmanager
def own_process_group() -> Iterator[None]:
    """Around the master's run: lead a process group of our own, in the foreground of the terminal.

    cotyledon calls setsid(), which would cut us off the terminal, so that Ctrl-C reached nobody;
    it fails, harmlessly, for the leader of a group. Needs SIGTTOU blocked, as `signals.block`
    does: a background process that sets the foreground group gets it.
    """
    before = os.getpgrp()
    in_foreground = _foreground_group() == before
    with suppress(PermissionError):  # a session leader leads its group already
        os.setpgid(0, 0)
    if not in_foreground:
        yield
        return
    _bring_to_foreground(os.getpgrp())
    # Ctrl-Z would stop us and nobody who could bring us back: make and sh are in another group.
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    try:
        yield
    finally:
        _bring_to_foreground(before)


def _foreground_group() -> int | None:
    """Of the terminal that Ctrl-C is typed at, wherever stdin leads; None without one."""
    try:
        with _terminal() as descriptor:
            return os.tcgetpgrp(descriptor)
    except OSError:  # there is none
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
